"""Answer a share of the users from a release on trial, count how it does, and follow the state in Redis.

Where no canary runs, a request costs one look at an attribute. Where one runs, requests are counted in the process; the
thread that follows the state adds the counts to Redis's and decides (`extras.canary.decision`), in each worker alike:
a transition that another worker has made is not made twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from flask import Flask

from data_exchange_center.dataset import OwnId
from extras.canary import state
from extras.canary.decision import (
    CanarySettings,
    Counts,
    Decision,
    Likes,
    as_counts,
    bucket_of,
    decide,
)
from extras.canary.likes import likes_of
from extras.canary.report import CanaryReport, progress
from extras.canary.state import Canaries, Canary, Member, member
from extras.canary.store import CanaryStore, Held
from extras.experiments.hook import counts as is_exposure
from extras.experiments.store import ExperimentStore, Exposure, ExposureQueue, counting
from extras.routes import per_release, route
from online.clients.base import ServiceError
from online.clients.triton import NOT_NUMBERS
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Answer, Request, Stopwatch, read_id
from online.web.parts import Parts

log = logging.getLogger(__name__)

HEARD_S: Final = 5.0  # until every worker knows of a step, and holds its users
FIRST: Final = 20  # canary requests of a worker that are not timed: its connections and caches are cold
AT_ONCE: Final = 1  # lists that are compared with the active release's, each time that the state is read
TOP: Final = 10  # items that are compared
KNOWN_USERS: Final = 100_000  # whose group a process remembers
LIKES_S, LIKES_SHARE = (
    10.0,
    0.05,
)  # least time between two reads of the logs, and share of the time that these may take
LOADED_S: Final = (
    60.0  # after which a process that cannot load the canary's release counts errors
)
RECENT_S: Final = 24 * 3600.0  # how long readiness reports an ended canary

Plain = Callable[[Request, Stopwatch], Answer]
PLAIN: Final = frozenset(
    {"userid", "size", "budget_ms"}
)  # fields of a request whose list can be compared


def register(app: Flask, parts: Parts) -> None:
    """Answer a canary's users from its release; `GET /ml/canary`."""
    store: CanaryStore = parts.stores.get("canary") or CanaryStore(parts.settings.redis)
    exposures: ExperimentStore = parts.stores.get("experiments") or ExperimentStore(
        parts.settings.redis
    )
    canarying = Canarying(parts, store, exposures, CanarySettings.load())
    app.extensions["canary"] = canarying
    parts.recommend, parts.preferred = canarying.recommend, canarying.preferred
    parts.recommender.readiness.notes.append(canarying.note)
    if "canary" not in parts.stores:
        canarying.open()
        parts.recommender.follow(canarying.follow)
        parts.recommender.follow(
            canarying.measure
        )  # on a thread of its own: reading the logs takes seconds

    @route(app, parts, "GET", "/ml/canary", CanaryReport, (401, 429, 500, 503))
    def canary() -> CanaryReport:
        """The release on trial, and those that were.

        Of the one that runs also counts of both groups, each guardrail with its bound, and when the next step comes.
        """
        return canarying.report(store.canaries())


class Canarying:
    """How a process answers while a canary runs. Shared by threads."""

    def __init__(
        self,
        parts: Parts,
        store: CanaryStore,
        exposures: ExperimentStore,
        settings: CanarySettings,
    ) -> None:
        self._recommender, self._plain, self._plainly_preferred = (
            parts.recommender,
            parts.recommend,
            parts.preferred,
        )
        self._store, self._exposures, self._settings = store, exposures, settings
        store.breaker = parts.recommender.users.breaker
        counter = counting(
            parts.registry,
            "recsys_canary_exposures",
            "Answers to both groups of a canary",
        )
        self._queue = ExposureQueue(exposures.expose, counter)
        self.canary: Canary | None = None  # all that a request looks at where none runs
        self._canaries = Canaries()
        self._tally = Tally()
        self._began = (
            0.0  # monotonic seconds, when this process has heard of the canary
        )
        self._likes, self._likes_at = (
            ("", Likes()),
            0.0,
        )  # with the canary's id; monotonic seconds of the next read
        self._titles = per_release(Titles)

    # --- answering

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Answer:
        """As `Recommender.recommend`."""
        canary, watch = self.canary, watch or Stopwatch()
        if canary is None:
            return self._plain(request, watch)
        group = self._group(canary, request, watch)
        if group is None or not self._can_answer(canary):
            return self._plain(request, watch)
        try:
            if group == "canary":
                answer = self._recommender.recommend(request, watch, canary.release)
            else:
                answer = self._plain(request, watch)
        except BadRequestError:
            raise
        except Exception:
            self._tally.add(group, ["errors"])
            raise
        self._count(canary, group, request, answer)
        return answer

    def preferred(self, userid: str) -> str | None:
        """The release that answers a user instead of the active one, or None. An id as text."""
        canary, opened = self.canary, self._recommender.releases.active
        if canary is not None and opened is not None:
            with suppress(BadRequestError):  # the recommender reports it
                own = read_id("userid", userid, opened.user_ids)
                group, is_new = member(canary, own) or (None, True)
                if group == "canary" and not self._tally.held.get(own, is_new):
                    return canary.release
        return self._plainly_preferred(userid)

    def _group(
        self, canary: Canary, request: Request, watch: Stopwatch
    ) -> Member | None:
        """The group that a request counts for; None: the active release answers it, and it counts for none."""
        if request.release is not None or request.strict or not request.userid:
            return None
        if (found := member(canary, request.userid)) is None:
            return None
        group, is_new = found
        announced = is_new and time.time() < canary.joined
        if not announced and self._tally.held.get(request.userid) is False:
            return group
        deadline = self._recommender.deadline_of(request, watch).share(0.2)
        query = Held(canary.id, request.userid, self._settings.away_s, announced)
        try:
            held = self._store.call(query, deadline, strict=False)
        except ServiceError:  # as far as this process knows
            return None if announced or self._tally.held.get(request.userid) else group
        self._tally.note(request.userid, held=held)
        return None if held else group

    def _can_answer(self, canary: Canary) -> bool:
        """Whether the release is loaded; a process that has just been started may need a while."""
        loaded = self._recommender.releases.loaded(canary.release) is not None
        return loaded or time.monotonic() >= self._began + LOADED_S

    def _count(
        self, canary: Canary, group: Member, request: Request, answer: Answer
    ) -> None:
        release = canary.release if group == "canary" else canary.active
        names = problems(answer, request.size, served=answer.release == release)
        active = self._recommender.releases.loaded(canary.active)
        if (
            group == "canary"
            and active is not None
            and not self._titles(active).agree(answer)
        ):
            names.append("wrong")
        self._tally.add(group, names, answer.took_ms["total"], request.userid)
        if is_exposure(request):
            in_group = {
                "experiment": canary.name,
                "arm": group,
                "dataset": canary.dataset,
            }
            self._queue.put(
                Exposure.of(answer, request, as_dealt="errors" not in names, **in_group)
            )
        if group == "canary" and not names and request.model_fields_set <= PLAIN:
            self._tally.samples.append(request)

    # --- following

    def open(self) -> None:
        """Load the release of a running canary, so that its users are not answered by another one."""
        with suppress(ServiceError):
            self._adopt(self._store.canaries())
            if self.canary is not None:
                self._recommender.releases.follow()

    def follow(self) -> bool:
        """Read the state; while a canary runs add up its counts and decide. Raises ServiceError."""
        self._adopt(self._store.canaries())
        canary = self.canary
        if canary is None:
            return True
        users, now = self._recommender.users, time.time()
        control = users.control()
        active = control.active
        if canary.release not in control.published:
            self._change(lambda before: state.deleted(before, {canary.release}, now))
        elif active != canary.active:
            self._change(lambda before: state.superseded(before, active, now))
        elif canary.activating:
            users.activate(canary.release)
            self._change(
                lambda before: state.ended(before, canary, "activated", now=now)
            )
        else:
            self._compare(canary)
            self._store.add(canary, *self._tally.taken())
            if now >= canary.joined or canary.step:
                decision = self._decide(canary, now)
                away_s = self._settings.away_s + HEARD_S
                self._change(
                    lambda before: state.after(before, canary, decision, now, away_s)
                )
        return True

    def measure(self) -> bool:
        """Measure what the users of both groups like, for the next decisions. Raises ServiceError."""
        canary, began = self.canary, time.monotonic()
        if canary is not None and began >= self._likes_at:
            likes = likes_of(
                self._exposures,
                canary,
                self._recommender.releases,
                self._settings.horizon_s,
            )
            self._likes, now = (canary.id, likes), time.monotonic()
            self._likes_at = now + max(LIKES_S, (now - began) / LIKES_SHARE)
        return True

    def note(self) -> str:
        """What readiness reports."""
        if self.canary is not None:
            return str(self.canary)
        last = next(iter(self._canaries.ended), None)
        return (
            str(last)
            if last
            and last.verdict != "activated"
            and last.ended > time.time() - RECENT_S
            else ""
        )

    def report(self, found: Canaries) -> CanaryReport:
        """The canaries, and how the one that runs does. Raises ServiceError."""
        running = found.running
        if running is None:
            return CanaryReport(**vars(found), progress=None)
        now = time.time()
        counts = self._counts(running, now)
        return CanaryReport(
            **vars(found), progress=progress(running, counts, self._settings, now)
        )

    def _change(self, change: Callable[[Canaries], Canaries]) -> None:
        self._adopt(self._store.update(change))

    def _adopt(self, found: Canaries) -> None:
        before, self._canaries = self.canary, found
        if found.running != before:
            if before is None or found.running is None or before.id != found.running.id:
                self._tally, self._began = Tally(), time.monotonic()
            elif before.step != found.running.step:
                self._tally.taken()  # counts of the step before; who has joined is still known
            self.canary = found.running

    def _decide(self, canary: Canary, now: float) -> Decision:
        return decide(
            self._counts(canary, now), self._settings, canary.users, canary.is_last
        )

    def _counts(self, canary: Canary, now: float) -> Counts:
        stored, users = self._store.counts(canary)
        of, likes = self._likes
        return as_counts(
            stored,
            users=users["canary"],
            active_users=users["active"],
            seconds=now - canary.joined,
            likes=likes if of == canary.id else Likes(),
        )

    def _compare(self, canary: Canary) -> None:
        """Compare the lists that both releases give a sample of the canary's users now.

        Both by name, so that neither is changed by what the user was shown before (impression discounting).
        """
        recommend = self._recommender.recommend
        for _ in range(min(AT_ONCE, len(self._tally.samples))):
            request = self._tally.samples.popleft()
            named = [
                request.model_copy(update={"release": release})
                for release in (canary.release, canary.active)
            ]
            with suppress(Exception):  # without both there is no comparison
                one, other = (recommend(each) for each in named)
                if not (one.degraded or other.degraded):
                    self._tally.compared(overlap_of(one, other))


class Titles:
    """The items of the active release, by id and title."""

    def __init__(self, opened: Release) -> None:
        self._of = {item.own_id: item.title for item in opened.catalogue.values()}
        self._known = frozenset(self._of.values())

    def agree(self, answer: Answer) -> bool:
        """Whether no item of an answer has another title here, nor its title another id. New items may be there."""
        of, known = self._of, self._known
        return all(
            of[item.itemid] == item.title
            if item.itemid in of
            else item.title not in known
            for item in answer.item_list
        )


def problems(answer: Answer, size: int, *, served: bool) -> list[str]:
    """The guardrails that an answer counts against; ``served``: the release that was meant has answered."""
    reasons = {each.reason for each in answer.degraded}
    scores = {item.score for item in answer.item_list}
    constant = (
        len(answer.item_list) > 1
        and len(scores) == 1
        and not answer.cold_start
        and not answer.degraded
    )
    found = {
        "errors": not served,
        "degraded": bool(answer.degraded),
        "short": len(answer.item_list) < size,
        "scores": constant
        or NOT_NUMBERS in reasons
        or any(score != score for score in scores),  # NaN
    }
    return [name for name, is_so in found.items() if is_so]


def overlap_of(one: Answer, other: Answer) -> int:
    """How many of the first ten items two answers share, scaled to ten where both are shorter."""
    first, second = set(one.itemids[:TOP]), set(other.itemids[:TOP])
    longest = max(len(first), len(second))
    return round(TOP * len(first & second) / longest) if longest else TOP


class Tally:
    """A worker's counts of a step, until they are added to Redis's. Shared by threads.

    Attributes:
        held: user -> whether the active release still answers; who has joined stays in the canary.
        samples: the newest requests whose lists can be compared.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._users: dict[Member, set[OwnId]] = {}
        self._timed = 0
        self.held: OrderedDict[OwnId, bool] = OrderedDict()
        self.samples: deque[Request] = deque(maxlen=100)

    def add(
        self,
        group: Member,
        names: list[str],
        took_ms: float | None = None,
        userid: OwnId = 0,
    ) -> None:
        """Count a request; ``names``: of the guardrails that it counts against; ``took_ms``: if it was answered."""
        with self._lock:
            self._counts.update(f"{group}:{name}" for name in ("requests", *names))
            if took_ms is None:
                return
            self._users.setdefault(group, set()).add(userid)
            if group == "canary":
                self._timed += 1
            if group == "active" or self._timed > FIRST:
                self._counts[f"{group}:<{bucket_of(took_ms)}"] += 1

    def compared(self, overlap: int) -> None:
        """Count a compared list."""
        with self._lock:
            self._counts.update({"compared": 1, "overlap": overlap})

    def taken(self) -> tuple[Counter[str], dict[Member, set[OwnId]]]:
        """The counts and each group's users since the last call."""
        with self._lock:
            found = self._counts, self._users
            self._counts, self._users = Counter(), {}
            return found

    def note(self, userid: OwnId, *, held: bool) -> None:
        """Remember whether a user is held; beyond `KNOWN_USERS` the oldest are dropped."""
        with self._lock:
            self.held[userid] = held
            if len(self.held) > KNOWN_USERS:
                self.held.popitem(last=False)
