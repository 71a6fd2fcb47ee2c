"""Rules of Prometheus for the targets of service: an alert where the error budget of 30 days is spent too fast.

The error budget is the share that may be bad. The burn rate is how many times faster than in 30 days it is spent. An
alert needs a high burn rate in a long window and, so that it ends soon after the failure, in a short one: the three
pairs of Google's Site Reliability Workbook, chapter 5.

Reads   objectives.yml of this folder
Writes  burn_rates.yml of this folder
Run     python -m extras.monitoring.objectives
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run

HERE: Final = Path(__file__).parent
BURN_RATES: Final = "burn_rates.yml"
ALERT: Final = "BudgetBurns"


class Pair(NamedTuple):
    """Two windows, and the burn rate that is too high in both."""

    long: str
    short: str
    burn_rate: float
    severity: str


PAIRS: Final = (
    Pair("1h", "5m", 14.4, "page"),  # 2 % of the budget in an hour
    Pair("6h", "30m", 6, "page"),  # 5 % in six hours
    Pair("3d", "6h", 1, "ticket"),  # 10 % in three days
)


def objectives() -> dict[str, dict[str, Any]]:
    text = (HERE / "objectives.yml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["objectives"]
    return found


def bad_share(objective: dict[str, Any], window: str) -> str:
    """PromQL for the share that was bad in a window."""
    total = f"sum(rate({objective['all']}[{window}]))"
    if "good" in objective:
        return f"1 - sum(rate({objective['good']}[{window}])) / {total}"
    return f"sum(rate({objective['bad']}[{window}])) / {total}"


def rules(pairs: Sequence[Pair] = PAIRS) -> dict[str, Any]:
    """A file of rules: the bad share in each window, then an alert for each pair."""
    windows = dict.fromkeys(window for pair in pairs for window in pair[:2])
    records = []
    alerts = []
    for name, objective in objectives().items():
        for window in windows:
            record = {
                "record": f"recsys:bad_share:rate{window}",
                "labels": {"objective": name},
                "expr": bad_share(objective, window),
            }
            records.append(record)
        for pair in pairs:
            most = round(pair.burn_rate * (1 - objective["target"]), 6)
            too_high = [
                f'recsys:bad_share:rate{window}{{objective="{name}"}} > {most}'
                for window in pair[:2]
            ]
            alert = {
                "alert": ALERT,
                "labels": {
                    "objective": name,
                    "window": pair.long,
                    "severity": pair.severity,
                },
                "expr": " and ".join(too_high),
                "annotations": {
                    "summary": f"{name}: {{{{ $value | humanizePercentage }}}} were "
                    f"bad in the last {pair.long}. Target: {objective['target']:.1%} "
                    f"{objective['about']}."
                },
            }
            alerts.append(alert)
    return {"groups": [{"name": "objectives", "rules": records + alerts}]}


def text(pairs: Sequence[Pair] = PAIRS) -> str:
    made = yaml.safe_dump(rules(pairs), sort_keys=False, width=120)
    return f"# Made from objectives.yml: python -m extras.monitoring.objectives\n{made}"


def main(_: Settings) -> None:
    with written_in_place(HERE / BURN_RATES) as temporary:
        temporary.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    run(main, about=__doc__)
