"""The document of a server with all extras: the same promises."""

from __future__ import annotations

from tests.unit.online.web.test_openapi import *  # noqa: F403 (with the fixtures of this folder)
