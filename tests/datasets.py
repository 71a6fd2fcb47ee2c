"""What tests say of data that they make up."""

from __future__ import annotations

from offline.ingestion import movielens

STARS = movielens.dataset("made up", "a test", {}, {})  # five stars, above three is liked; a year; a profile of three
