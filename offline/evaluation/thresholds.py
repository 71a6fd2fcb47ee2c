"""Quality thresholds of the default recipe: `make evaluate` and `make evaluate-offline` fail below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from data_exchange_center.recipes import DEFAULT
from data_exchange_center.steps import StepError
from offline.evaluation.baselines import EASE, POPULARITY

FLOORS: Final = {"recall@200": 0.735, "recall@50": 0.475, "ndcg@50": 0.29, "returning: recall@200": 0.56}  # on ML-1M
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
    if found["dataset"] != "ml-1m":
        return
    for name, floor in FLOORS.items():
        if ours[name] < floor:
            yield f"{name} is {ours[name]:.4f} and should be at least {floor:.3f}"
    for name in BETTER_RANKED:
        change, p_value = (found["ranking"][name][key] for key in ("difference", "p_value"))
        if not (change > 0 and p_value < P_VALUE):
            yield f"the ranker changes {name} of recall's order by {change:+.4f} with p = {p_value:.2g}"
