"""Requests answered as the running experiments want it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from random import Random

from data_exchange_center.own_ids import OwnId
from extras.experiments.dealing import arm_of, dealt
from extras.experiments.declaration import Experiment, Experiments, unpack
from extras.experiments.exposures import Exposure
from extras.experiments.team_draft import team_draft
from online.recommend.recommender import Recommender
from online.recommend.stopwatch import Stopwatch
from online.recommend.types import (
    WITHOUT_A_SERVICE,
    InExperiment,
    Recommendation,
    Request,
    WrongIdError,
    read_id,
)

log = logging.getLogger(__name__)

FIRST_LIST = 0.5  # of the budget of an interleaved answer; what it leaves is the other's


class Experimenting:
    """A recommender whose users may be in experiments. Shared by threads; where none runs it costs nothing.

    What runs is known from the answers that Redis gives to requests: a change is known to a process with the request
    after the next.
    """

    def __init__(self, recommender: Recommender, expose: Callable[[Exposure], None]) -> None:
        """``expose`` is told of every answer that an experiment had a part in, and returns at once."""
        self._recommender = recommender
        self._expose = expose
        self._known: tuple[bytes | None, Experiments] = (None, ())

    @property
    def running(self) -> Experiments:
        """As Redis said last."""
        raw, experiments = self._known
        packed = self._recommender.releases.experiments
        if packed != raw:
            try:
                experiments = unpack(packed) if packed else ()
            except ValueError:
                log.exception("what Redis holds as experiments cannot be read, so none is run")
                experiments = ()
            self._known = packed, experiments
        return experiments

    def _dealt(self, userid: OwnId) -> Experiment | None:
        """The experiment that a user of the data set that is served is in; another one's users are others."""
        if (opened := self._recommender.releases.serving) is None:
            return None
        served = opened.manifest.dataset.base_name
        return dealt((each for each in self.running if each.dataset == served), userid)

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Recommendation:
        """As `Recommender.recommend`."""
        watch = watch or Stopwatch()
        experiment = self._dealt(request.userid) if request.takes_part else None
        if experiment is None:
            return self._recommender.recommend(request, watch)
        answer, exposure = self._answered(experiment, request, watch)
        self._recommender.note(answer)
        if request.is_exposure:
            self._expose(exposure)
        return answer

    def preferred(self, userid: str) -> str | None:
        """The release of a user's arm, of the first arm where lists are interleaved; None: of no experiment."""
        if (opened := self._recommender.releases.serving) is not None:
            with suppress(WrongIdError):  # the recommender says so
                own = read_id("userid", userid, opened.user_ids)
                if (experiment := self._dealt(own)) is not None:
                    arm = experiment.control if experiment.kind == "interleaved" else arm_of(experiment, own)
                    return experiment.arms[arm].release
        return None

    def _answered(self, experiment: Experiment, request: Request, watch: Stopwatch) -> tuple[Recommendation, Exposure]:
        if experiment.kind == "interleaved":
            return self._interleaved(experiment, request, watch)
        arm = arm_of(experiment, request.userid)
        release = experiment.arms[arm].release
        answer = self._recommender.made(request, watch, release)
        return _told(experiment, request, answer, arm, as_dealt=answer.release == release)

    def _interleaved(
        self, experiment: Experiment, request: Request, watch: Stopwatch
    ) -> tuple[Recommendation, Exposure]:
        """The list that both arms draft; where one cannot give its own whole list, the first arm's alone."""
        control, other = (arm.release for arm in experiment.arms.values())
        first = self._recommender.made(request, watch, control, FIRST_LIST)
        second = first if other == control else self._recommender.made(request, Stopwatch(watch.began), other)
        lacking = {each.outcome for each in (*first.lacking, *second.lacking)} & WITHOUT_A_SERVICE
        if (first.release, second.release) != (control, other) or lacking:
            return _told(experiment, request, first, experiment.control, as_dealt=False)
        answer, teams = interleaved(first, second, request.size, experiment.name)
        answer = replace(answer, took_ms=watch.took_ms())
        return _told(experiment, request, answer, "", as_dealt=True, teams=teams)


def interleaved(
    first: Recommendation, second: Recommendation, size: int, experiment: str
) -> tuple[Recommendation, str]:
    """Two answers to a request as one, and its items' teams.

    The coins are of the user and the lists: as long as those stay the same, the interleaved list does.
    """
    lists = [[item.own_id for _, _, item in answer.items] for answer in (first, second)]
    drafted = team_draft(lists[0], lists[1], size, _coin(experiment, first.userid, lists))
    answers = (first, second)
    explained = None
    if first.explained is not None and second.explained is not None:
        of_list = (first.explained, second.explained)
        explained = [of_list[team][place] for team, place in drafted.places]
    items = tuple(answers[team].items[place] for team, place in drafted.places)
    lacking = tuple(dict.fromkeys((*first.lacking, *second.lacking)))
    cold_start = first.cold_start and second.cold_start
    answer = replace(first, items=items, explained=explained, lacking=lacking, cold_start=cold_start)
    return answer, drafted.teams


def _coin(experiment: str, userid: OwnId, lists: Sequence[Sequence[OwnId]]) -> Random:
    digest = blake2b(json.dumps([experiment, userid, *lists]).encode(), digest_size=8, person=b"coin").digest()
    return Random(int.from_bytes(digest))  # noqa: S311 (no secret)


def _told(
    experiment: Experiment, request: Request, answer: Recommendation, arm: str, *, as_dealt: bool, teams: str = ""
) -> tuple[Recommendation, Exposure]:
    """The answer that says which arm it is of, and what is logged of it."""
    part = InExperiment(experiment.name, experiment.layer, (arm,) if arm else tuple(experiment.arms))
    exposure = Exposure(
        experiment=experiment.name,
        arm=arm,
        recommendation=answer.id,
        dataset=experiment.dataset,
        userid=request.userid,
        release=answer.release,
        as_dealt=as_dealt,
        timestamp=request.timestamp,
        answered=time.time_ns() // 1_000_000,
        items=tuple(item.own_id for _, _, item in answer.items),
        teams=teams,
    )
    return replace(answer, experiments=(part,)), exposure
