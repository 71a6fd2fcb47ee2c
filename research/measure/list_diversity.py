"""What re-ranking for diversity gives and costs: lists beside the NDCG by how different, new and fitting they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from data_exchange_center.features import Float32
from extras.diversity.diversity import similarity_rows
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout

K: Final = 50
NDCG: Final = f"ndcg@{K}"
COST: Final = 0.01  # share of the NDCG that diversity may cost


@dataclass(frozen=True, eq=False)
class Kinds:
    """What items are, by code; row 0 is padding.

    Attributes:
        vectors: channel -> (items + 1, dim), NaN for an item without one.
        flags: (items + 1, genres) 0/1.
    """

    vectors: Mapping[str, Float32]
    flags: Float32

    def rows(self, *, by_vectors: bool = True, by_genres: bool = True) -> Float32:
        """(items + 1, d) as the server compares items; or by one of the two alone."""
        flags = self.flags if by_genres else np.zeros((len(self.flags), 0), np.float32)
        return similarity_rows(list(self.vectors.values()) if by_vectors else [], flags)


def measures(holdout: Holdout, lists: Lists, kinds: Kinds) -> dict[str, Floats]:
    """(users,) each, of lists of `K` or more: NDCG and recall of what is `Holdout.judged`, the others of what is shown.

    A calibration error of 0 has the genres of the list in the shares of the user's history.
    """
    judged, shown = holdout.judged(lists), lists[:, :K]
    asked = (shown > 0).any(axis=1)
    found = {
        NDCG: metrics.ndcg(judged, holdout.relevance, K),
        f"recall@{K}": metrics.recall(judged, holdout.relevance, K),
        "diversity by vectors": metrics.diversity(shown, kinds.rows(by_genres=False).astype(np.float64)),
        "diversity by genres": metrics.diversity(shown, kinds.rows(by_vectors=False).astype(np.float64)),
        "novelty": metrics.novelty(shown, holdout.popularity),
        "calibration error": metrics.calibration_error(shown, holdout.known.seen(), kinds.flags.astype(np.float64)),
    }
    return {name: np.where(asked, values, np.nan) for name, values in found.items()}


def summary(holdout: Holdout, lists: Lists, kinds: Kinds, first: Mapping[str, Floats] | None) -> dict[str, Any]:
    """Means over users with their intervals, coverage, and the paired change of the NDCG to ``first``'s, if any."""
    found = measures(holdout, lists, kinds)
    n_items = holdout.relevance.shape[1] - 1
    return {
        **{name: asdict(metrics.mean(values)) for name, values in found.items()},
        f"coverage@{K}": metrics.coverage(lists[:, :K], n_items),
        **({"change": asdict(metrics.compare(found[NDCG], first[NDCG]))} if first else {}),
    }


def lost(row: Mapping[str, Any], first: Mapping[str, Any]) -> float:
    """Share of the NDCG of ``first``, a `summary`, that another one lacks."""
    return float(1 - row[NDCG]["mean"] / first[NDCG]["mean"])
