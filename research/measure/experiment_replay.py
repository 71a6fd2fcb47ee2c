"""Replay users through experiments on the running server: equal arms come out even, a better arm is found.

Every user has one request in each of four experiments, as of the second of the first held-out event: the default recipe
against itself, and the source's against it, each split and interleaved. Then the server gets the held-out events, and
each experiment is reported as `make experiment` does. The users of the first are then assigned again, many times over:
how often an interval ever excludes zero is their error rate.

Events and experiments are removed afterwards. `make events` waits until then.

Reads   the running server, and a release of each recipe in the stores (as `make bench-recipes`);
        data_exchange_center/offline (the held-out events)
Writes  pic/figures/experiments.json (another data set's: with its name)
Run     make experiment-replay; users=1000: of 1,000 users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts, steps
from data_exchange_center.recipes import DEFAULT, SOURCE
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError, progress
from extras.events.event_parts import EventParts
from extras.experiments.always_valid import ALPHA, difference_path
from extras.experiments.declaration import (
    DAY_S,
    Declaration,
    Experiment,
    Kind,
    arm_of,
    named,
    started,
    stopped,
)
from extras.experiments.outcomes import Outcomes, outcomes_of
from extras.experiments.report import SUSPICIOUS, found_by, show
from extras.experiments.store import ExperimentStore
from offline.data.split import holdout_sizes
from offline.evaluation.metrics import plain
from offline.readers import read_with_holdout
from online.recommend.types import MAX_BUDGET_MS
from research.bench.serving import loaded_releases, newest_releases
from research.evaluation.running_server import expect_release
from research.figure_files import write_figure
from research.measure.in_process import SEED, parse_users, sample
from research.measure.live_events import PREFIX, Each, Replay, ServerLoop, loops
from research.reports import write

K: Final = 50
REDEALT: Final = 500  # experiments
HEARD_S: Final = 60.0  # until every worker has heard of an experiment, or opened a release
WRITTEN_S: Final = 60.0  # until the exposures are in the log


class Planned(NamedTuple):
    """An experiment to replay: the recipes whose releases are its arms."""

    name: str
    control: str
    treatment: str
    kind: Kind

    @property
    def is_even(self) -> bool:
        """Whether both arms are the same."""
        return self.control == self.treatment


PLANNED: Final = {
    "A/A, split": Planned("replay-aa", DEFAULT.name, DEFAULT.name, "split"),
    "A/B, split": Planned("replay-ab", SOURCE.name, DEFAULT.name, "split"),
    "A/A, interleaved": Planned("replay-aa-interleaved", DEFAULT.name, DEFAULT.name, "interleaved"),
    "A/B, interleaved": Planned("replay-ab-interleaved", SOURCE.name, DEFAULT.name, "interleaved"),
}


def replay(
    settings: Settings, data: Replay, users: Sequence[int], releases: Mapping[str, str], each: Each
) -> dict[str, tuple[Experiment, Outcomes]]:
    """Run the four experiments on ``users``, each by its name in `PLANNED`, and remove all of it again.

    ``releases``: recipe -> its release. Raises StepError, ServiceError.
    """
    with closing(ExperimentStore(settings.redis)) as store:
        running = [one.name for one in store.call(None) if one.runs and not one.name.startswith("replay-")]
        if running:
            raise StepError(f"Experiment {running[0]} runs.", f"Stop it first: make experiment-stop name={running[0]}")
        for planned in PLANNED.values():
            store.remove(planned.name)  # of a run that was killed
        try:
            for planned in PLANNED.values():
                kept = dict.fromkeys(releases.values(), data.dataset.base_name)
                declared = _declared(planned, releases, len(users))
                store.update(lambda before, d=declared, k=kept: started(before, d, k, int(time.time())))  # type: ignore[misc]
                _all(each, partial(_requested, data=data, experiment=planned.name), users, planned.name)
                store.update(lambda before, name=planned.name: stopped(before, name, int(time.time())))  # type: ignore[misc]
            _all(each, partial(_with_arm, data=data), users, "what they did then")
            experiments = {title: named(store.call(None), planned.name) for title, planned in PLANNED.items()}
            return {
                title: (experiment, _outcomes(store, experiment, data, len(users)))
                for title, experiment in experiments.items()
            }
        finally:
            _all(each, partial(_taken_back, data=data), users, "taken back")
            for planned in PLANNED.values():
                store.remove(planned.name)


def _all(each: Each, of: Callable[[ServerLoop, int], None], users: Sequence[int], what: str) -> None:
    for _ in progress(each(of, users), total=len(users), desc=what, unit="user"):
        pass


def _declared(planned: Planned, releases: Mapping[str, str], n_users: int) -> Declaration:
    arms = {"control": {"release": releases[planned.control]}, "treatment": {"release": releases[planned.treatment]}}
    return Declaration.model_validate(
        {
            "name": planned.name,
            "kind": planned.kind,
            "arms": arms,
            "horizon_s": 90 * DAY_S,
            "planned_users": max(n_users, 100),
        }
    )


def _requested(loop: ServerLoop, user: int, data: Replay, experiment: str) -> None:
    """Send requests until the worker that answers knows the experiment."""
    userid = data.userid(user)
    fields = {
        "timestamp": int(data.data.times[data.held(user).start]),
        "size": K,
        "budget_ms": MAX_BUDGET_MS,
        "experiments": True,
    }

    def heard() -> bool:
        answer = loop.recommend(userid, **fields)
        if answer.degraded:
            raise StepError(f"User {userid!r} was answered without something: {answer.reason} Run it again.")
        return any(part["experiment"] == experiment for part in getattr(answer, "experiments", ()))

    try:
        Retrying(stop=stop_after_delay(HEARD_S), wait=wait_fixed(0.05), retry=retry_if_result(lambda it: not it))(heard)
    except RetryError as error:
        raise StepError(f"The server does not answer by experiment {experiment} after {HEARD_S:.0f} s.") from error


def _with_arm(loop: ServerLoop, user: int, data: Replay) -> None:
    loop.take_back(data.userid(user), PREFIX)  # of a run that was killed
    loop.tell([data.event(place, data.userid(user)) for place in data.held(user)])


def _taken_back(loop: ServerLoop, user: int, data: Replay) -> None:
    loop.take_back(data.userid(user), PREFIX)


def _outcomes(store: ExperimentStore, experiment: Experiment, data: Replay, n_users: int) -> Outcomes:
    """Compute the outcomes once all exposures are in the log."""

    def read() -> Outcomes:
        return outcomes_of(store, experiment, data.dataset, inf)  # without a horizon: all events count

    try:
        again = retry_if_result(lambda outcomes: len(outcomes.userids) < n_users)
        found: Outcomes = Retrying(stop=stop_after_delay(WRITTEN_S), wait=wait_fixed(0.5), retry=again)(read)
    except RetryError as error:
        raise StepError(f"Of {n_users:,} users the log of exposures does not have all.", "Run it again.") from error
    return found


def redealt(experiment: Experiment, outcomes: Outcomes, times: int = REDEALT) -> dict[str, int]:
    """Count the A/A experiments, over the same users and values, that would ever have found a difference."""
    values = outcomes.values[experiment.metric]
    wrong = 0
    for number in range(times):
        another = experiment.model_copy(update={"name": f"{experiment.name}-{number}"})
        treated = np.array([arm_of(another, userid) != experiment.control for userid in outcomes.userids])
        path = difference_path(values, treated, experiment.planned_users)
        wrong += bool(((path["low"] > 0) | (path["high"] < 0)).any())
    return {"experiments": times, "ever excluding 0": wrong}


def check(found: Mapping[str, Any]) -> None:
    """Check that equal releases come out even, and that the better one is found. Raises CheckError."""
    for title, planned in PLANNED.items():
        each = found["experiments"][title]
        split = planned.kind == "split"
        decided = each["differences"]["treatment"][each["experiment"]["metric"]] if split else each["preference"]
        if split and each["sample ratio p"] < SUSPICIOUS:
            raise CheckError(f"{title}: the arms' sizes do not fit their weights.")
        if planned.is_even and not decided["low"] <= 0 <= decided["high"]:
            raise CheckError(f"{title}: a difference is found where there is none, as happens in 5 % of all runs.")
        if not planned.is_even and decided["low"] <= 0:
            raise CheckError(f"{title}: the default recipe is not found to be better than the source's.")
    dealt = found["redealt"]
    most = ALPHA + 3 * float(np.sqrt(ALPHA * (1 - ALPHA) / dealt["experiments"]))
    if dealt["ever excluding 0"] > most * dealt["experiments"]:
        raise CheckError(f"Of {dealt['experiments']} A/A experiments, {dealt['ever excluding 0']} found a difference.")


def _until_open(loop: ServerLoop, user: int, data: Replay, release: str) -> None:
    loop.recommend(data.userid(user), release=release, budget_ms=MAX_BUDGET_MS)


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.experiment_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, help="a file for the figures, instead of the one in pic/figures")
    size = parse_users(parser)
    output = parser.parse_args().output
    inputs = read_with_holdout(settings)
    dataset = artifacts.DATASET.read(settings.exchange_dir)["name"]
    loaded, live = loaded_releases(settings)
    releases = newest_releases(loaded, dataset)
    expect_release(settings.server.url, live or releases[DEFAULT.name])
    sizes = holdout_sizes(inputs.dataset.holdout, inputs.data.lengths, inputs.data.newest)
    data = Replay(inputs.data, sizes, read_own_ids(settings.exchange_dir), inputs.dataset)
    some = sample(inputs.data.n_users, size)
    users = np.random.default_rng(SEED).permutation(some[sizes[some] > 0]).tolist()  # in random order of arrival
    base_name = inputs.dataset.base_name
    with (
        EventParts(settings.events_dir(base_name)).locked(),
        loops(settings, live or releases[DEFAULT.name], base_name) as each,
    ):
        for recipe, release in releases.items():  # on every worker, so that no answer is of another release
            _all(each, partial(_until_open, data=data, release=release), users[:64], f"{recipe}'s release")
        outcomes = replay(settings, data, users, releases, each)
    experiments = {title: found_by(*pair) for title, pair in outcomes.items()}
    measured = {
        "command": f"make experiment-replay{f' users={size}' if size else ''}",
        "dataset": dataset,
        "recipe": DEFAULT.name,
        "releases": releases,
        "users": len(users),
        "experiments": experiments,
        "redealt": redealt(*outcomes["A/A, split"]),
    }
    for title, each_found in experiments.items():
        Console().rule(title)
        show(each_found, Console())
    if output:
        write_figure(output, plain(measured))
    else:
        write(plain(measured), settings, "experiments")
    check(measured)


if __name__ == "__main__":
    steps.run(main)
