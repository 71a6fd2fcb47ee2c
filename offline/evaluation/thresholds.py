"""Quality thresholds of the default recipe: `make evaluate` and `make evaluate-offline` fail outside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from data_exchange_center.recipes import DEFAULT
from data_exchange_center.steps import StepError
from offline.evaluation.baselines import EASE, POPULARITY

# data set -> list, metric -> what it is at least and at most: what is better than ever saw what it should not have seen
BOUNDS: Final[dict[str, dict[tuple[str, str], tuple[float, float]]]] = {
    "ml-1m": {
        ("ranked", "recall@200"): (0.735, 0.775),
        ("ranked", "recall@50"): (0.475, 0.515),
        ("ranked", "ndcg@50"): (0.29, 0.325),
        ("ranked", "returning: recall@200"): (0.56, 0.66),
    },
    "ml-100k": {
        ("recall", "recall@200"): (0.785, 0.83),
        ("recall", "recall@50"): (0.503, 0.545),
        ("recall", "ndcg@50"): (0.299, 0.335),
        ("ranked", "recall@200"): (0.785, 0.83),
        ("ranked", "recall@50"): (0.505, 0.55),
        ("ranked", "ndcg@50"): (0.299, 0.34),
    },
}
MEASURED: Final = ("ml-1m", "ml-100k")  # real data sets; on made-up data quality means nothing
BEATEN: Final = ("recall@200", "recall@50", "ndcg@50")  # must be above the baselines', on both
BETTER_RANKED: Final = ("recall@50", "ndcg@50")
P_VALUE: Final = 0.01


def check(found: Mapping[str, Any]) -> None:
    """Raises StepError, naming each threshold that is missed. Other recipes and data sets have none."""
    if found["recipe"] != DEFAULT.name or found["dataset"] not in MEASURED:
        return
    if missed := list(_missed(found)):
        raise StepError(f"the {DEFAULT.name} recipe on {found['dataset']}: {'; '.join(missed)}.")


def _missed(found: Mapping[str, Any]) -> Iterator[str]:
    table = found["table"]
    ours = table[f"{DEFAULT.name}: ranked"]
    for baseline in (POPULARITY, EASE):
        for name in BEATEN:
            if not ours[name] > table[baseline][name]:
                yield f"{name} is {ours[name]:.4f} and no better than {baseline}'s {table[baseline][name]:.4f}"
    for (kind, name), (floor, ceiling) in BOUNDS[found["dataset"]].items():
        value = table[f"{DEFAULT.name}: {kind}"][name]
        if value < floor:
            yield f"{name} of the {kind} list is {value:.4f} and should be at least {floor:.3f}"
        if value > ceiling:
            yield f"{name} of the {kind} list is {value:.4f}, above {ceiling:.3f}: was the holdout trained on?"
    if found["dataset"] == "ml-1m":  # of the smaller one it cannot be told apart from chance
        for name in BETTER_RANKED:
            change, p_value = (found["ranking"][name][key] for key in ("difference", "p_value"))
            if not (change > 0 and p_value < P_VALUE):
                yield f"the ranker changes {name} of recall's order by {change:+.4f} with p = {p_value:.2g}"
