"""Quality over time, as servers show it: its settings, the report of `make quality`, and metrics of it.

`extras.trials.measure_quality` makes the report.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from math import nan
from typing import Annotated, Final

from prometheus_client import CollectorRegistry, Gauge
from pydantic import Field

from data_exchange_center.settings import ExtensionSettings
from extras.trials.state import Model

DAYS: Final = 7  # of a release's hit rate in the metrics
KEPT_RATES: Final = 200  # in a report


class QualitySettings(ExtensionSettings, env_prefix="RECSYS_QUALITY__"):
    """Settings of quality over time."""

    # lists that a worker records in a second; 0: none
    record_per_s: Annotated[int, Field(ge=0)] = 1
    # seconds after a list in which a liked item makes it a hit
    window_s: Annotated[int, Field(ge=1)] = 3600
    # of the index, above which there is an alert
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2


class DayRate(Model):
    """Lists of one release on one day (UTC)."""

    release: str
    day: str
    lists: int
    """served lists whose window is over"""
    hits: int
    """of these, lists of which the user liked an item within the window"""


class Drift(Model):
    """How far a feature's distribution is from the training data's."""

    feature: str
    psi: float
    values: int
    """how many were compared with the training data"""


class Report(Model):
    """What `make quality` found last."""

    release: str | None = None
    """whose training data drift is measured against"""
    made: int = 0
    """in seconds since 1970-01-01 UTC; 0: never"""
    window_s: int = 0
    """seconds after a list in which a liked item makes it a hit"""
    threshold: float = 0.2
    """of the index, above which a feature has drifted"""
    hit_rates: list[DayRate] = Field(default=[])
    drift: list[Drift] = Field(default=[])

    def rates_since(self, day: str) -> dict[str, float]:
        """Hit rate of each release with lists since a day."""
        lists, hits = Counter[str](), Counter[str]()
        for each in self.hit_rates:
            if each.day >= day:
                lists[each.release] += each.lists
                hits[each.release] += each.hits
        return {release: hits[release] / count for release, count in lists.items()}

    def after(self, before: Report) -> Report:
        """This report, with days that only an earlier one of the same window has, or has more lists of.

        The newest `KEPT_RATES` are kept.
        """
        most: dict[tuple[str, str], DayRate] = {}
        for each in sorted(
            (*before.hit_rates, *self.hit_rates), key=lambda each: each.lists
        ):
            most[each.day, each.release] = each
        kept = [most[key] for key in sorted(most)[-KEPT_RATES:]]
        return self.model_copy(update={"hit_rates": kept})


class QualityMetrics:
    """The report as metrics."""

    def __init__(self, registry: CollectorRegistry, threshold: float) -> None:
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livemax")
        what = f"Share of a release's lists of {DAYS} days with a liked item"
        self._rates = gauge("recsys_hit_rate", what, ["release"])
        what = "Population stability index against the training data"
        self._drift = gauge("recsys_drift_psi", what, ["release", "feature"])
        what = "Index above which a feature has drifted"
        gauge("recsys_drift_threshold", what).set(threshold)
        self._set: set[tuple[Gauge, tuple[str, ...]]] = set()

    def show(self, report: Report) -> None:
        """Set the metrics; what has no value any more is NaN, as several processes cannot remove labels."""
        since = datetime.fromtimestamp(report.made, UTC) - timedelta(days=DAYS - 1)
        values: dict[tuple[Gauge, tuple[str, ...]], float] = {}
        for release, rate in report.rates_since(f"{since:%Y-%m-%d}").items():
            values[self._rates, (release,)] = rate
        for each in report.drift:
            values[self._drift, (report.release or "", each.feature)] = each.psi
        for gauge, labels in self._set | values.keys():
            gauge.labels(*labels).set(values.get((gauge, labels), nan))
        self._set |= values.keys()
