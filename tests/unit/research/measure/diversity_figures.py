"""What `make evaluate-diversity` and `make tune-diversity` write, made up."""

from __future__ import annotations

from typing import Any

from tests.unit.offline.evaluation.live_events import mean

MACHINE = {"cpu": "CPU", "cores": 2, "memory_gb": 8}


def row(ndcg: float, vectors: float, genres: float, coverage: float) -> dict[str, Any]:
    """A summary; what it changes is told within half of a percent of .3."""
    change = ndcg - 0.3
    return {
        "ndcg@50": mean(ndcg),
        "recall@50": mean(0.5),
        "diversity by vectors": mean(vectors),
        "diversity by genres": mean(genres),
        "novelty": mean(3.0),
        "calibration error": mean(0.7),
        "coverage@50": coverage,
        "change": {"difference": change, "low": change - 0.0015, "high": change + 0.0015, "p_value": 0.01, "users": 7},
    }


FIRST = row(0.3, 0.8, 0.6, 0.5)
SERVED: dict[str, Any] = {
    "command": "make evaluate-diversity",
    "machine": MACHINE,
    "users": 1_234,
    "asked": 75,
    "chosen": 0.2,
    "diversity": {"0": FIRST, "0.2": row(0.2976, 0.9, 0.7, 0.6), "1": row(0.1, 0.95, 0.8, 0.7)},
    "ms": {"p50": 0.41, "p99": 0.8},
}
TUNED: dict[str, Any] = {
    "command": "make tune-diversity",
    "machine": MACHINE,
    "users": 1_234,
    "ways": {"as ranked": {"0": FIRST}},
    "for the cost": {
        "one way": {
            "diversity by vectors": 0.85, "diversity by genres": 0.7, "coverage@50": 0.55, "novelty": 3.1,
            "calibration error": 0.6, "recall@50": 0.5,
        },
        "a way that never costs so much": None,
    },
}  # fmt: skip
