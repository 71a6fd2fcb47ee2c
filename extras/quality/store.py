"""Settings of this extension; its report, and where that is: in Redis, for all servers."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final

from pydantic import BaseModel, Field, ValidationError

from data_exchange_center.settings import ExtensionSettings
from extras.events.log import SERVED
from extras.experiments.store import ExperimentStore
from online.clients.base import StoredError
from online.clients.redis import RedisClient

report_key: Final = (
    "ml:quality:{}:{}".format
)  # `Dataset.base_name`, window in seconds -> string: report, as JSON


class QualitySettings(ExtensionSettings, env_prefix="RECSYS_QUALITY__"):
    """Settings of this extension."""

    record_per_s: Annotated[int, Field(ge=0)] = (
        1  # lists that a worker records in a second; 0: none
    )
    window_s: Annotated[int, Field(ge=1)] = (
        3600  # seconds after a list in which a liked item makes it a hit
    )
    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = (
        0.2  # of the index, above which there is an alert
    )


class DayRate(BaseModel):
    """Lists of one release on one day (UTC)."""

    release: str
    day: str
    lists: int = Field(description="served lists whose window is over")
    hits: int = Field(
        description="of these, lists of which the user liked an item within the window"
    )


class Drift(BaseModel):
    """How far a feature's distribution is from the training data's."""

    feature: str
    psi: float
    values: int = Field(description="how many were compared with the training data")


class Report(BaseModel):
    """What `make quality` found last."""

    release: str | None = Field(
        default=None, description="whose training data drift is measured against"
    )
    made: int = Field(
        default=0, description="in seconds since 1970-01-01 UTC; 0: never"
    )
    window_s: int = Field(
        default=0,
        description="seconds after a list in which a liked item makes it a hit",
    )
    threshold: float = Field(
        default=0.2, description="of the index, above which a feature has drifted"
    )
    hit_rates: list[DayRate] = []
    drift: list[Drift] = []

    def rates_since(self, day: str) -> dict[str, float]:
        """Hit rate of each release with lists since a day."""
        lists, hits = Counter[str](), Counter[str]()
        for each in self.hit_rates:
            if each.day >= day:
                lists[each.release] += each.lists
                hits[each.release] += each.hits
        return {release: hits[release] / count for release, count in lists.items()}


class ServedStore(ExperimentStore):
    """The log of served lists: exposures of no experiment."""

    stream = SERVED
    kept = 6_250  # a partition, about: 100,000 in all, some 50 MB of lists of fifty


class QualityStore(RedisClient[tuple[str, int], Report]):
    """Data set and window in seconds -> the report; an empty one where there is none. Raises ServiceError."""

    def _call(self, query: tuple[str, int]) -> Report:
        raw = self._redis.get(report_key(*query))
        try:
            return Report.model_validate_json(raw) if raw else Report()  # type: ignore[arg-type]
        except ValidationError as error:
            raise StoredError(
                self.service, "holds a report on quality that cannot be read"
            ) from error

    def write(self, dataset: str, report: Report) -> None:
        with self._limited("write"):
            self._redis.set(
                report_key(dataset, report.window_s), report.model_dump_json()
            )
