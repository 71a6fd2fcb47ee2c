from __future__ import annotations

from tests.unit.offline.evaluation.conftest import exchange, released  # noqa: F401 (fixtures)
