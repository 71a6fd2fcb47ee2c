"""Requests answered as the running experiments want it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from random import Random
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from extras.experiments.dealing import arm_of, dealt
from extras.experiments.declaration import Experiment, Experiments, unpack
from extras.experiments.exposures import Exposure
from extras.experiments.team_draft import team_draft
from online.recommend.recommend import Recommender
from online.recommend.types import WITHOUT_A_SERVICE, Answer, Request, Stopwatch, WrongIdError, read_id, sentences

log = logging.getLogger(__name__)

FIRST_LIST = 0.5  # of the budget of an interleaved answer; what it leaves is the other's
EACH_ITEM: Final = frozenset({"explained"})  # fields of answers, by other extras, with an entry for each item


class ExperimentRequest(Request):
    """Whether an experiment may decide."""

    experiments: bool = True  # take part in those that run; said together with a timestamp, it counts as an exposure


def takes_part(request: Request) -> bool:
    """Whether an experiment may decide on the release: not where one is named, nor for checks and measurements."""
    agrees = not isinstance(request, ExperimentRequest) or request.experiments
    return agrees and request.release is None and not request.strict


def is_exposure(request: Request) -> bool:
    """Whether the answer counts in an experiment. One as of another time does where the request says so."""
    given = request.model_fields_set
    return takes_part(request) and ("timestamp" not in given or "experiments" in given)


class InExperiment(BaseModel):
    """An experiment that had a part in an answer."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    layer: str
    arms: list[str] = Field(description="the user's one; both, where the list is interleaved of theirs")


class ExperimentAnswer(Answer):
    """With the experiment that had a part in it."""

    experiments: list[InExperiment] = Field(
        default=[],
        description="what decided on the release; absent if none did",
        exclude_if=lambda found: not found,
    )


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

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Answer:
        """As `Recommender.recommend`."""
        watch = watch or Stopwatch()
        experiment = self._dealt(request.userid) if takes_part(request) else None
        if experiment is None:
            return self._recommender.recommend(request, watch)
        answer, exposure = self._answered(experiment, request, watch)
        if is_exposure(request):
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

    def _answered(self, experiment: Experiment, request: Request, watch: Stopwatch) -> tuple[Answer, Exposure]:
        if experiment.kind == "interleaved":
            return self._interleaved(experiment, request, watch)
        arm = arm_of(experiment, request.userid)
        release = experiment.arms[arm].release
        answer = self._recommender.recommend(request, watch, release)
        return _told(experiment, request, answer, arm, as_dealt=answer.release == release)

    def _interleaved(self, experiment: Experiment, request: Request, watch: Stopwatch) -> tuple[Answer, Exposure]:
        """The list that both arms draft; where one cannot give its own whole list, the first arm's alone."""
        control, other = (arm.release for arm in experiment.arms.values())
        first = self._recommender.recommend(request, watch, control, FIRST_LIST)
        second = first if other == control else self._recommender.recommend(request, Stopwatch(watch.began), other)
        lacking = {each.outcome for each in (*first.degraded, *second.degraded)} & WITHOUT_A_SERVICE
        if (first.release, second.release) != (control, other) or lacking:
            return _told(experiment, request, first, experiment.control, as_dealt=False)
        answer, teams = interleaved(first, second, request.size, experiment.name)
        answer.took_ms = {stage: round(ms, 2) for stage, ms in watch.took_ms().items()}
        return _told(experiment, request, answer, "", as_dealt=True, teams=teams)


def interleaved(first: Answer, second: Answer, size: int, experiment: str) -> tuple[Answer, str]:
    """Two answers to a request as one, and its items' teams.

    The coins are of the user and the lists: as long as those stay the same, the interleaved list does.
    """
    lists = [first.itemids, second.itemids]
    drafted = team_draft(lists[0], lists[1], size, _coin(experiment, first.userid, lists))
    of_list = (first, second)
    degraded = list(dict.fromkeys((*first.degraded, *second.degraded)))
    cold_start = first.cold_start and second.cold_start
    update: dict[str, Any] = {
        "item_list": [of_list[team].item_list[place] for team, place in drafted.places],
        "degraded": degraded,
        "cold_start": cold_start,
        "reason": sentences(degraded, cold_start=cold_start),
    }
    for name in EACH_ITEM & type(first).model_fields.keys():
        both = getattr(first, name) and getattr(second, name)
        update[name] = [getattr(of_list[team], name)[place] for team, place in drafted.places] if both else []
    return first.model_copy(update=update), drafted.teams


def _coin(experiment: str, userid: OwnId, lists: Sequence[Sequence[OwnId]]) -> Random:
    digest = blake2b(json.dumps([experiment, userid, *lists]).encode(), digest_size=8, person=b"coin").digest()
    return Random(int.from_bytes(digest))  # noqa: S311 (no secret)


def _told(
    experiment: Experiment, request: Request, answer: Answer, arm: str, *, as_dealt: bool, teams: str = ""
) -> tuple[Answer, Exposure]:
    """The answer that says which arm it is of, and what is logged of it."""
    part = InExperiment(
        experiment=experiment.name, layer=experiment.layer, arms=[arm] if arm else list(experiment.arms)
    )
    exposure = Exposure(
        experiment=experiment.name,
        arm=arm,
        recommendation=answer.recommendation,
        dataset=experiment.dataset,
        userid=request.userid,
        release=answer.release,
        as_dealt=as_dealt,
        timestamp=request.timestamp,
        answered=time.time_ns() // 1_000_000,
        items=tuple(answer.itemids),
        teams=teams,
    )
    return answer.model_copy(update={"experiments": [part]}), exposure
