"""An invented report of `make evaluate-live`."""

from __future__ import annotations

from typing import Any


def mean(value: float) -> dict[str, Any]:
    return {"mean": value, "low": value - 0.1, "high": value + 0.1, "users": 7}


VARIANTS = ("told at once", "told 1 event late", "told 5 events late", "never told")
FIGURE: dict[str, Any] = {
    "command": "make evaluate-live",
    "machine": {"cpu": "CPU", "cores": 2, "memory_gb": 8},
    "users": 1_234,
    "replay": {
        name: {
            "events": 5_678, "hit@10": mean(0.2), "hit@50": mean(0.5 - place / 10), "ndcg@50": mean(0.3),
            "by event": [0.1, None, 0.3],
        }
        for place, name in enumerate(VARIANTS)
    },
    "strangers": {str(given): mean(given / 10) for given in (0, 1, 3)},
}  # fmt: skip
