"""A/B tests over releases: users are answered from their arm's release, or from two releases in one list.

`register` adds the routes by which experiments are looked up, started and stopped; `Experimenting` wraps how a request
is answered; `interleaved` makes one answer of two.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from hashlib import blake2b
from random import Random
from typing import Any, Final, TypeVar

from flask import Flask
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from extras.experiments import declaration
from extras.experiments.declaration import (
    Declaration,
    Experiment,
    Experiments,
    ExperimentView,
    arm_of,
)
from extras.experiments.store import (
    FIRST,
    NEITHER,
    SECOND,
    ExperimentStore,
    Exposure,
    ExposureQueue,
    counting,
)
from extras.routes import route
from online.recommend.outcomes import WITHOUT_A_SERVICE, WrongIdError, sentences
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request, Stopwatch, read_id
from online.web.guard import may_record_exposures
from online.web.parts import Parts

log = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Hashable)
Places = list[tuple[int, int]]  # (list, place) of items: 0 is the first list

EACH_ITEM: Final = frozenset(
    {"explained"}
)  # fields of answers, by other extras, with an entry for each item
_ARMS: Final = {
    "control": {"release": "4b39adab7df3"},
    "treatment": {"release": "9c1f0e2a7b55"},
}
_EXAMPLE: Final = {"name": "ranker", "arms": _ARMS}


class ExperimentRequest(Request):
    """Whether an experiment may decide."""

    experiments: bool = Field(
        default=True,
        description="take part in those that run; given with a timestamp, it counts as an exposure",
    )


class InExperiment(BaseModel):
    """An experiment that had a part in an answer."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    arms: list[str] = Field(
        description="the user's one; both, where the list is interleaved of theirs"
    )


class ExperimentAnswer(Answer):
    """With the experiment that had a part in it."""

    experiments: list[InExperiment] = Field(
        default=[],
        description="what decided on the release; absent if none did",
        exclude_if=lambda found: not found,
    )


class ExperimentsView(BaseModel):
    """The experiments that there are, the oldest first."""

    experiments: list[ExperimentView]


def register(app: Flask, parts: Parts) -> None:
    """Answer users from their arms' releases; `/ml/experiments`, `POST /ml/experiments/<name>/stop`."""
    store: ExperimentStore = parts.stores.get("experiments") or ExperimentStore(
        parts.settings.redis
    )
    queue = ExposureQueue(
        store.expose,
        counting(parts.registry, "recsys_exposures", "Answers of experiments"),
    )
    experimenting = Experimenting(parts.recommender, queue.put)
    parts.extend_request(ExperimentRequest)
    parts.extend_answer(ExperimentAnswer)
    parts.recommend, parts.preferred = experimenting.recommend, experimenting.preferred
    users = parts.recommender.users

    @route(app, parts, "GET", "/ml/experiments", ExperimentsView, (401, 429, 500, 503))
    def experiments() -> ExperimentsView:
        """The experiments that run, and those that did."""
        return ExperimentsView(
            experiments=[ExperimentView.of(each) for each in store.call(None)]
        )

    @route(
        app,
        parts,
        "POST",
        "/ml/experiments",
        ExperimentView,
        (400, 401, 408, 411, 429, 500, 503),
        body=Declaration,
        example=_EXAMPLE,
        security=[{"key": []}],
    )
    def start_experiment(declared: Declaration) -> ExperimentView:
        """Start an experiment: from now on users are dealt to its arms' releases."""
        _, published = declaration.published_releases(users)
        there = store.update(
            lambda before: declaration.started(
                before, declared, published, int(time.time())
            )
        )
        return ExperimentView.of(declaration.named(there, declared.name))

    stopping = (400, 401, 411, 429, 500, 503)

    @route(
        app,
        parts,
        "POST",
        "/ml/experiments/<string:name>/stop",
        ExperimentView,
        stopping,
        security=[{"key": []}],
    )
    def stop_experiment(name: str) -> ExperimentView:
        """Stop an experiment: everybody is answered from the live release again."""
        there = store.update(
            lambda before: declaration.stopped(before, name, int(time.time()))
        )
        return ExperimentView.of(declaration.named(there, name))


# ------------------------------------------------------------------------------------------------- answering requests


def is_eligible(request: Request) -> bool:
    """Whether an experiment may decide on the release: not if one is named, without a user, or if ``strict``."""
    agrees = not isinstance(request, ExperimentRequest) or request.experiments
    return (
        agrees
        and bool(request.userid)
        and request.release is None
        and not request.strict
    )


def counts(request: Request) -> bool:
    """Whether an answer is an exposure: not one to a session, of which nothing is written, nor to an untrusted client.

    One as of another time counts only if the request sets ``experiments``. A canary counts by this rule, too: chance
    has assigned its users, so every kind of request counts in both groups alike. `extras.quality` compares releases
    without an assignment, so there plain requests alone count.
    """
    given = request.model_fields_set
    return (
        may_record_exposures()
        and "history" not in given
        and ("timestamp" not in given or "experiments" in given)
    )


class Experimenting:
    """A recommender whose users may be in experiments. Shared by threads; where none runs it costs nothing.

    Running experiments come with Redis's answers to requests, so a process follows a change from its second request on.
    """

    def __init__(
        self, recommender: Recommender, expose: Callable[[Exposure], None]
    ) -> None:
        """``expose`` gets every answer that an experiment had a part in, and returns at once."""
        self._recommender = recommender
        self._expose = expose
        self._known: tuple[bytes | None, Experiments] = (None, ())

    @property
    def running(self) -> Experiments:
        """Running experiments, as of Redis's last answer."""
        raw, experiments = self._known
        packed = self._recommender.releases.experiments
        if packed != raw:
            try:
                experiments = (
                    declaration.EXPERIMENTS.validate_json(packed) if packed else ()
                )
            except ValueError:
                log.exception(
                    "what Redis holds as experiments cannot be read, so none is run"
                )
                experiments = ()
            self._known = packed, experiments
        return experiments

    def _assigned(self, userid: OwnId) -> Experiment | None:
        """The experiment of a user, among those on the data set that is served."""
        if (opened := self._recommender.releases.active) is None:
            return None
        served = opened.manifest.dataset.base_name
        there = [each for each in self.running if each.dataset == served]
        return declaration.dealt(there, userid) if there else None

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Answer:
        """As `Recommender.recommend`."""
        watch = watch or Stopwatch()
        experiment = self._assigned(request.userid) if is_eligible(request) else None
        if experiment is None:
            return self._recommender.recommend(request, watch)
        if experiment.kind == "interleaved":
            answer, exposure = self._interleaved(experiment, request, watch)
        else:
            arm = arm_of(experiment, request.userid)
            release = experiment.arms[arm].release
            answer = self._recommender.recommend(request, watch, release)
            answer, exposure = _with_arm(
                experiment, request, answer, arm, as_dealt=answer.release == release
            )
        if counts(request):
            self._expose(exposure)
        return answer

    def preferred(self, userid: str) -> str | None:
        """The release of a user's arm, of the first arm where lists are interleaved; None: of no experiment."""
        if (opened := self._recommender.releases.active) is not None:
            with suppress(WrongIdError):  # the recommender says so
                own = read_id("userid", userid, opened.user_ids)
                if (experiment := self._assigned(own)) is not None:
                    arm = (
                        experiment.control
                        if experiment.kind == "interleaved"
                        else arm_of(experiment, own)
                    )
                    return experiment.arms[arm].release
        return None

    def _interleaved(
        self, experiment: Experiment, request: Request, watch: Stopwatch
    ) -> tuple[Answer, Exposure]:
        """Interleave both arms' lists; if one is incomplete, or the request has a cursor, the first arm's alone."""
        control, other = (arm.release for arm in experiment.arms.values())
        first = self._recommender.recommend(request, watch, control)
        if getattr(request, "cursor", False):  # a cursor continues one list
            return _with_arm(
                experiment, request, first, experiment.control, as_dealt=False
            )
        again = Stopwatch(watch.began)
        again.stages |= (
            watch.stages
        )  # it has not waited for a thread: the first list has taken the time
        second = (
            first
            if other == control
            else self._recommender.recommend(request, again, other)
        )
        degraded = {
            each.outcome for each in (*first.degraded, *second.degraded)
        } & WITHOUT_A_SERVICE
        if (first.release, second.release) != (control, other) or degraded:
            return _with_arm(
                experiment, request, first, experiment.control, as_dealt=False
            )
        answer, teams = interleaved(first, second, request.size, experiment.name)
        answer.took_ms = watch.took_ms()
        return _with_arm(experiment, request, answer, "", as_dealt=True, teams=teams)


def interleaved(
    first: Answer, second: Answer, size: int, experiment: str
) -> tuple[Answer, str]:
    """Two answers to a request as one, and its items' teams.

    The coin is seeded with the user and both lists: as long as these stay the same, so does the interleaved list.
    """
    lists = [first.itemids, second.itemids]
    seed = json.dumps([experiment, first.userid, *lists]).encode()
    coin = Random(int.from_bytes(blake2b(seed, digest_size=8, person=b"coin").digest()))  # noqa: S311 (no secret)
    places, teams = team_draft(lists[0], lists[1], size, coin)
    of_list = (first, second)
    degraded = list(dict.fromkeys((*first.degraded, *second.degraded)))
    cold_start = first.cold_start and second.cold_start
    update: dict[str, Any] = {
        "item_list": [of_list[team].item_list[place] for team, place in places],
        "degraded": degraded,
        "cold_start": cold_start,
        "reason": sentences(degraded, cold_start=cold_start),
        "short": first.short if len(places) < size else "",
        "filled_up": max(
            first.filled_up, second.filled_up
        ),  # at least: of which list an item is, teams say
    }
    for name in EACH_ITEM & type(first).model_fields.keys():
        entries = [
            getattr(each, name) for each in of_list
        ]  # a list may have ended with the budget
        kept = [(team, place) for team, place in places if place < len(entries[team])]
        update[name] = (
            [entries[team][place] for team, place in kept] if all(entries) else []
        )
    return first.model_copy(update=update), teams


def _with_arm(
    experiment: Experiment,
    request: Request,
    answer: Answer,
    arm: str,
    *,
    as_dealt: bool,
    teams: str = "",
) -> tuple[Answer, Exposure]:
    """Add the experiment to an answer. Returns it, and the exposure to log."""
    part = InExperiment(
        experiment=experiment.name, arms=[arm] if arm else list(experiment.arms)
    )
    exposure = Exposure.of(
        answer,
        request,
        experiment=experiment.name,
        arm=arm,
        dataset=experiment.dataset,
        as_dealt=as_dealt,
        teams=teams,
    )
    return answer.model_copy(update={"experiments": [part]}), exposure


def team_draft(
    first: Sequence[Item], second: Sequence[Item], size: int, coin: Random
) -> tuple[Places, str]:
    """Team draft (Radlinski, Kurup & Joachims 2008, How Does Clickthrough Data Reflect Retrieval Quality?).

    Returns where each item of the new list is from, and its team: one character an item.

    The lists pick in turns, each its best item that is not there yet; in each round a coin says which picks first. So
    an item that both have is as likely to count for one as for the other, at the same places in expectation.
    """
    lists, at, counts = (first, second), [0, 0], [0, 0]
    taken: set[Item] = set()
    places: Places = []
    teams: list[str] = []

    def left(team: int) -> bool:
        while at[team] < len(lists[team]) and lists[team][at[team]] in taken:
            at[team] += 1
        return at[team] < len(lists[team])

    def pick(team: int, counted: bool) -> None:
        taken.add(lists[team][at[team]])
        places.append((team, at[team]))
        teams.append((FIRST, SECOND)[team] if counted else NEITHER)
        counts[team] += 1

    while len(places) < size and left(0) and left(1):
        pick(
            coin.randrange(2) if counts[0] == counts[1] else int(counts[0] > counts[1]),
            counted=True,
        )
    for team in (0, 1):
        while len(places) < size and left(team):
            pick(team, counted=False)
    return places, "".join(teams)
