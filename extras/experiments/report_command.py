"""What an experiment has found so far: each arm against the control, with an interval that holds at any time.

It may be asked for as often as one likes, and the experiment stopped as soon as the interval leaves zero out: over all
those looks, a difference that is not there is found in at most 5 % of the experiments.

Reads   the experiment, its log of exposures and users' events in Redis; the release's declaration of its data set
Writes  data_exchange_center/online/experiments/<name>.json, and <name>.png: the interval over time
Run     make experiment name=ranker
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.console import Console

from data_exchange_center import steps, wire
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.figures import STYLE
from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.events import Event, Logged
from extras.experiments.declaration import Experiment, named
from extras.experiments.outcomes import Outcomes, joined
from extras.experiments.pictures import over_time
from extras.experiments.report import found_by, show
from extras.experiments.store import ExperimentStore
from offline.evaluation.report import plain
from offline_to_online.stores.base import TIMEOUT_S, reaching, redis_address, redis_client
from online.clients.redis import RedisUsers

_AT_A_TIME: Final = 500  # users whose events are asked for


class Logs:
    """The logs that a report is made of, in Redis."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = ExperimentStore(settings.redis, TIMEOUT_S)

    def experiment(self, name: str) -> Experiment:
        """Raises ExperimentError, ServiceError."""
        return named(self._store.call(None), name)

    def outcomes(self, experiment: Experiment, dataset: Dataset, now: float) -> Outcomes:
        """Raises ServiceError, StepError."""
        events_of = partial(self.events_of, experiment.dataset)
        return joined(experiment, self._store.exposures(experiment.name), events_of, dataset, now)

    def is_cut(self, experiment: Experiment) -> bool:
        """Whether the log may have dropped exposures since it was started. Raises ServiceError."""
        return self._store.is_cut(experiment.started)

    def dataset(self, experiment: Experiment) -> Dataset:
        """Of any of its releases that is kept, or of the live one. Raises ServiceError, StepError."""
        with closing(RedisUsers(self._settings.redis)) as users:
            return dataset_of(experiment, users)

    def events_of(self, dataset: str, userids: Sequence[OwnId]) -> dict[OwnId, list[Event]]:
        """What a data set's users did that changes their state, in its order. Raises StepError."""
        events: dict[OwnId, list[Event]] = {}
        with reaching("Redis", redis_address(self._settings)), redis_client(self._settings) as client:
            for start in range(0, len(userids), _AT_A_TIME):
                some = userids[start : start + _AT_A_TIME]
                pipeline = client.pipeline(transaction=False)
                for userid in some:
                    pipeline.hgetall(wire.user_events_key(dataset, userid))
                for userid, stored in zip(some, pipeline.execute(), strict=True):
                    raws = [raw for name, raw in stored.items() if name != wire.FORGOTTEN.encode()]
                    logged = sorted(map(Logged.unpack, raws), key=lambda each: each[:2])
                    events[userid] = [each.event for each in logged]
        return events

    def close(self) -> None:
        self._store.close()


def dataset_of(experiment: Experiment, users: RedisUsers) -> Dataset:
    """As `Logs.dataset`."""
    live, _ = users.activated()
    for release in (*(arm.release for arm in experiment.arms.values()), live):
        published = users.published(release) if release is not None else None
        if published is not None and published.manifest.dataset.base_name == experiment.dataset:
            return published.manifest.dataset
    raise StepError(
        f"No release of data set {experiment.dataset} is kept that says what the events mean.",
        "Load one with `make sync`.",
    )


def main(settings: Settings) -> None:
    """Raises ExperimentError, ServiceError, StepError."""
    parser = argparse.ArgumentParser(prog="python -m extras.experiments.report_command", description=__doc__)
    parser.add_argument("--name", required=True, help="of the experiment, as `make experiments` lists it")
    name = parser.parse_args().name
    with closing(Logs(settings)) as logs:
        experiment = logs.experiment(name)
        outcomes = logs.outcomes(experiment, logs.dataset(experiment), time.time())
        is_cut = logs.is_cut(experiment)
    found = found_by(experiment, outcomes)
    if is_cut:
        found["warnings"].append("the log of exposures is full and keeps the oldest no longer; users may be missing")
    console = Console()
    show(found, console)
    folder = settings.service_dir("experiments")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", plain(found))
    with mpl.rc_context(STYLE), written_in_place(folder / f"{name}.png") as temporary:
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        over_time(figure.subplots(), found)
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    console.print(f"written: {folder / name}.json, {name}.png")


if __name__ == "__main__":
    steps.run(main)
