"""Simulate canaries over lists of the running services: what bad releases cost until they are rolled back.

Lists, latencies and outcomes are collected once for each release: the server's own code in this process, over the four
services, answers some users at the moment of their first held-out rating. A bad release is the active one with a fault
put into what a process loads of it, or into a client (`MADE`); a few are made from the active release's answers
(`CHANGED`). Then canaries are simulated: users, drawn from the collected ones, arrive at `RATE` a second, their answers
are counted as servers count them, and `extras.trials.decision.decide`, with its usual limits, decides.

The model of what users like: a user likes the held-out items that the list of fifty has, each with probability
`NOTICED`, and its likes are counted after the horizon. Assignment is a new random draw each time, as new hashes give.

Reads   the active release in the services; data_exchange_center/offline (the held-out ratings)
Writes  pic/figures/canary.json (another data set's: with its name)
Run     make canary-simulation, after make up sync; users=400: of 400 users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import steps
from data_exchange_center.candidates import StoredUser
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.history import History
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress
from extras import replay
from extras.trials.changes import STEPS
from extras.trials.decision import (
    NOTHING,
    CanarySettings,
    Counts,
    Decision,
    bucket_of,
    decide,
    relative_likes,
)
from extras.trials.tally import is_wrong, overlap_of, problems
from online.clients.base import NEVER, Deadline, StoredError
from online.clients.triton import NOT_NUMBERS, ScoreQuery
from online.recommend.item_cache import ItemCache
from online.recommend.loaded_release import Release
from online.recommend.recommend import Recommender
from online.recommend.types import MAX_BUDGET_MS, Answer, Request
from research import figures
from research.measure.in_process import SEED, Requests, parse_users, recommender_of

K: Final = 50
USERS: Final = 400  # whose lists are collected
RATE: Final = 50.0  # requests a second of all users
SHARE: Final = 0.05
STEP_USERS: Final = 10_000  # `requests=` of the simulated canaries
LOOKS: Final = 40  # decisions in a step; servers decide twice a second
# lists of a step that are compared with the active release's, at most
COMPARED: Final = 1_000
NOTICED: Final = 0.5
EQUAL: Final = 500  # comparisons of the active release with itself
STALE: Final = 20  # of each user's last events, which a stale release does not have
NAMES: Final = ("errors", "degraded", "short", "wrong", "scores")


Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Scores = NDArray[np.float32]
ChangeScores = Callable[[Scores, ScoreQuery], Scores]


@dataclass(frozen=True)
class Collected:
    """Answers of a release to the same users.

    Attributes:
        problems: name -> (users,) whether the answer counts against the guardrail.
        milliseconds: (users,).
        overlap: (users,) items of the first ten that the active release's list has, too.
        likes: (users,) held-out liked items on the list.
    """

    problems: Mapping[str, Flags]
    milliseconds: NDArray[np.float64]
    overlap: Numbers
    likes: Numbers

    def drawn(self, share: float) -> Flags:
        """(users,) True for a share of the answers."""
        return np.random.default_rng(SEED).random(len(self.likes)) < share

    def where(self, share: float, name: str, *, lost: bool = False) -> Collected:
        """The same with a problem in a share of the answers. ``lost``: their lists find nothing any more."""
        hit = self.drawn(share)
        problems = {**self.problems, name: self.problems[name] | hit}
        likes = np.where(hit, 0, self.likes) if lost else self.likes
        return replace(self, problems=problems, likes=likes)

    def slower(self, share: float, milliseconds: float) -> Collected:
        """The same with a delay of a share of the answers."""
        return replace(
            self, milliseconds=self.milliseconds + self.drawn(share) * milliseconds
        )


# --- Releases: the active one, with a fault


class Scorer:
    """The client of Triton, whose scores are changed."""

    def __init__(self, scorer: Any, change: ChangeScores) -> None:
        self._scorer = scorer
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def call(
        self, query: ScoreQuery, deadline: Deadline = NEVER, *, strict: bool = True
    ) -> Scores:
        return self._change(self._scorer.call(query, deadline, strict=strict), query)


@contextmanager
def scored(recommender: Recommender, change: ChangeScores) -> Iterator[None]:
    """A ranking model whose scores are others."""
    before = recommender.scorer
    recommender.scorer = cast(Any, Scorer(before, change))
    try:
        yield
    finally:
        recommender.scorer = before


@contextmanager
def loaded(
    recommender: Recommender, view: Callable[[Release], Release]
) -> Iterator[None]:
    """A release of which a process has loaded something else."""
    before: dict[str, Release] = {}

    def changed(opened: Release) -> Release:
        before[opened.release] = opened
        return view(opened)

    recommender.releases.replace_each(changed)
    try:
        yield
    finally:
        recommender.releases.replace_each(lambda opened: before[opened.release])


@contextmanager
def known(recommender: Recommender, keeps: Callable[[int], Flags]) -> Iterator[None]:
    """A release that knows other histories of its users. ``keeps``: which of so many events, newest first."""

    def view(user: StoredUser) -> StoredUser:
        history = user.history
        kept = keeps(len(history))
        events = (
            history.item_numbers[kept],
            history.ratings[kept],
            history.times[kept],
        )
        return replace(user, history=History(*events))

    hook = recommender.phases.state.append(lambda _, __, user: user and view(user))
    try:
        yield
    finally:
        hook.needed = False


def shuffled(scores: Scores, _: ScoreQuery) -> Scores:
    """Scores without information, as of a model that is fitted on shuffled labels."""
    return np.random.default_rng(len(scores)).permutation(scores)


def reversed_scores(scores: Scores, _: ScoreQuery) -> Scores:
    return 1 - scores


def equal_scores(scores: Scores, _: ScoreQuery) -> Scores:
    return np.full_like(scores, 0.5)


def delayed(scores: Scores, _: ScoreQuery) -> Scores:
    time.sleep(0.08)
    return scores


def with_nan(codes: Numbers, column: int) -> ChangeScores:
    """A model that gives NaN for the items of some codes, which the client refuses as it does Triton's."""

    def change(scores: Scores, query: ScoreQuery) -> Scores:
        asked = query.inputs.rows[:, column].astype(np.int64)
        if np.isin(asked, codes).any():
            raise StoredError("triton", NOT_NUMBERS)
        return scores

    return change


def every_other(events: int) -> Flags:
    """A release of half of the data."""
    places = np.arange(events)
    kept: Flags = places % 2 == 0
    return kept


def without_newest(events: int) -> Flags:
    """A release whose features are old."""
    older: Flags = np.arange(events) >= STALE
    return older


def old_items(opened: Release) -> Release:
    """Features of the items in another order: those of an earlier numbering."""
    held = opened.items.held
    order = np.random.default_rng(SEED).permutation(len(held.item_numbers))
    mixed = replace(held, rows=held.rows[order])
    return replace(opened, items=ItemCache(lambda: mixed, inf))


def swapped(numbers: Numbers) -> Callable[[Release], Release]:
    """Own ids of these items given to the next one of them, as after a wrong join of a catalogue."""

    def view(opened: Release) -> Release:
        catalogue = dict(opened.catalogue)
        others = np.roll(numbers, 1).tolist()
        for here, there in zip(numbers.tolist(), others, strict=True):
            own_id = opened.catalogue[there].own_id
            catalogue[here] = replace(opened.catalogue[here], own_id=own_id)
        return replace(opened, catalogue=catalogue)

    return view


# --- Their lists


def ask(
    recommender: Recommender, requests: Requests, name: str, release: str
) -> list[Answer]:
    """Answers of what is loaded now, a user after the other."""
    answers = []
    for row in progress(
        requests.rows, total=len(requests.rows), desc=name, unit="user"
    ):
        request = Request(
            userid=requests.userids[row],
            timestamp=int(requests.holdout.times[row]),
            size=K,
            budget_ms=MAX_BUDGET_MS,
            release=release,
        )
        answers.append(recommender.recommend(request))
    return answers


def collected(
    requests: Requests, opened: Release, answers: list[Answer], active: list[Answer]
) -> Collected:
    """What counts of some answers. ``opened``, ``active``: the active release and its answers."""
    found = []
    for answer in answers:
        names = problems(answer, K, served=True)
        found.append([*names, "wrong"] if is_wrong(answer, opened) else names)
    overlap = [overlap_of(*pair) for pair in zip(answers, active, strict=True)]
    return Collected(
        {name: np.array([name in names for names in found]) for name in NAMES},
        np.array([answer.took_ms["total"] for answer in answers]),
        np.array(overlap),
        liked(requests, answers, opened.numbers),
    )


def liked(
    requests: Requests, answers: list[Answer], numbers: Mapping[OwnId, int]
) -> Numbers:
    """(users,) held-out liked items on each list, by the ids that it shows."""
    holdout = requests.holdout
    lists = np.zeros((len(requests.userids), K), np.int64)
    for row, answer in zip(requests.rows, answers, strict=True):
        shown = [numbers[own_id] for own_id in answer.itemids if own_id in numbers]
        codes = np.searchsorted(holdout.past.item_numbers, shown) + 1
        lists[row, : len(shown)] = codes
    hits = replay.hits(holdout.judged(lists), holdout.relevance)
    return np.asarray(hits[requests.rows].sum(axis=1), np.int64)


def rare(opened: Release, answers: list[Answer], share: float) -> Numbers:
    """Numbers of seldom listed items, of which this share of the lists has one."""
    listed = Counter(own_id for answer in answers for own_id in answer.itemids)
    chosen: set[OwnId] = set()
    for own_id, _ in reversed(listed.most_common()):
        chosen.add(own_id)
        with_one = sum(not chosen.isdisjoint(answer.itemids) for answer in answers)
        if with_one >= share * len(answers):
            break
    return np.array([opened.numbers[own_id] for own_id in chosen])


@dataclass(frozen=True)
class Bad:
    """A bad release.

    Attributes:
        reasons: the guardrails that name what is wrong with it.
        likes: share of the likes that its users still have, where the lists stay the same.
    """

    name: str
    reasons: tuple[str, ...]
    collected: Collected
    likes: float = 1.0


def bad_releases(
    recommender: Recommender, requests: Requests, release: str
) -> tuple[Collected, list[Bad]]:
    """The release as it is, and the bad ones."""
    opened = recommender.releases.get(release)
    ask(recommender, requests, "warm-up", release)
    answers = ask(recommender, requests, "active", release)
    active = collected(requests, opened, answers, answers)
    item = opened.spec.columns.index(Columns.ITEM)
    codes = np.arange(500, len(opened.catalogue), 1_000)  # one item in a thousand
    seldom = rare(opened, answers, 0.02)
    numbers = np.array(sorted(opened.catalogue))
    worse = ("distance", "likes")
    faults = {
        "scores of shuffled labels": (worse, scored(recommender, shuffled)),
        "scores of the opposite sign": (worse, scored(recommender, reversed_scores)),
        "all scores equal": (("scores",), scored(recommender, equal_scores)),
        "NaN for one item in a thousand": (
            ("scores",),
            scored(recommender, with_nan(codes, item)),
        ),
        "80 ms slower": (("latency",), scored(recommender, delayed)),
        "half of the data": (worse, known(recommender, every_other)),
        f"stale: without the last {STALE} events": (
            worse,
            known(recommender, without_newest),
        ),
        "item features in another order": (worse, loaded(recommender, old_items)),
        "wrong ids in 2 % of the lists": (
            ("wrong",),
            loaded(recommender, swapped(seldom)),
        ),
        "wrong ids in all lists": (("wrong",), loaded(recommender, swapped(numbers))),
    }
    found = []
    for name, (reasons, fault) in faults.items():
        with fault:
            lists = ask(recommender, requests, name, release)
        found.append(Bad(name, reasons, collected(requests, opened, lists, answers)))
    others = np.random.default_rng(SEED).permutation(len(answers))
    of_others = collected(
        requests, opened, [answers[other] for other in others], answers
    )
    of_others = replace(active, overlap=of_others.overlap, likes=of_others.likes)
    return active, [
        *found,
        Bad("lists of other users", worse, of_others),
        Bad("3 % fewer likes", ("likes",), active, 0.97),
        Bad("10 % fewer likes", ("likes",), active, 0.9),
        Bad("20 % fewer likes", ("likes",), active, 0.8),
        Bad(
            "errors in 2 % of the requests",
            ("errors",),
            active.where(0.02, "errors", lost=True),
        ),
        Bad("5 % degraded", ("degraded",), active.where(0.05, "degraded")),
        Bad("4 % short lists", ("short",), active.where(0.04, "short")),
        Bad("2 % empty lists", ("short",), active.where(0.02, "short", lost=True)),
        Bad(
            "5 % of the requests 250 ms slower",
            ("latency",),
            active.slower(0.05, 250.0),
        ),
        Bad("30 ms slower", ("latency",), active.slower(1.0, 30.0)),
    ]


# --- The simulation


class Simulation:
    """One canary, from its start to its end. ``likes``: as of `Bad`."""

    def __init__(
        self,
        active: Collected,
        canary: Collected,
        generator: np.random.Generator,
        likes: float,
    ) -> None:
        self.active = active
        self.canary = canary
        self.generator = generator
        self.likes = likes
        self.limits = CanarySettings()
        self.clock = 0.0  # seconds
        self.users = 0
        self.likes_lost = 0.0
        self.known = NOTHING
        # a look's users of both groups: whether they have the canary
        self.treated: list[Flags] = []
        self.values: list[Numbers] = []  # and their likes
        self.ends: list[float] = []  # when those are known

    def step(self, share: float) -> Decision:
        """The decision at which a step with this share of the users ends."""
        stored: Counter[str] = Counter()
        began = self.clock
        users = STEP_USERS // LOOKS
        for _ in range(LOOKS):
            self.clock += users / (RATE * share)
            self.look(stored, users)
            seconds = self.clock - began
            counts = Counts(stored, seconds, self.known)
            decision = decide(counts, self.limits, STEP_USERS)
            if decision.action == "roll back":
                break
        return decision

    def look(self, stored: Counter[str], users: int) -> None:
        """Users of both groups get answers, which are counted; likes whose horizon is over become known."""
        generator = self.generator
        chosen = generator.integers(len(self.canary.likes), size=users)
        others = generator.integers(len(self.active.likes), size=users)
        count(stored, "canary", self.canary, chosen)
        count(stored, "active", self.active, others)
        compared = self.canary.overlap[chosen[: COMPARED // LOOKS]]
        stored["compared"] += len(compared)
        stored["overlap"] += int(compared.sum())
        self.users += users
        lost = self.active.likes[chosen] - self.likes * self.canary.likes[chosen]
        self.likes_lost += NOTICED * float(lost.sum())
        theirs = generator.binomial(self.canary.likes[chosen], NOTICED * self.likes)
        usual = generator.binomial(self.active.likes[others], NOTICED)
        order = generator.permutation(2 * users)  # the two groups arrive in turns
        self.treated.append(np.repeat([True, False], users)[order])
        self.values.append(np.concatenate([theirs, usual])[order])
        self.ends.append(self.clock + self.limits.horizon_s)
        over = int(np.searchsorted(self.ends, self.clock, "right"))
        if over:
            values = np.concatenate(self.values[:over]).astype(np.float64)
            treated = np.concatenate(self.treated[:over])
            self.known = relative_likes(values, treated, 2 * STEP_USERS)


def simulate(
    active: Collected,
    canary: Collected,
    generator: np.random.Generator,
    likes: float = 1.0,
) -> dict[str, Any]:
    """How one canary ends. ``likes``: as of `Bad`."""
    simulation = Simulation(active, canary, generator, likes)
    reason, detail, step = "", "", 0
    for share in (SHARE, *STEPS):
        step += 1
        decision = simulation.step(share)
        if decision.action == "roll back":
            reason, detail = decision.reason, decision.detail
            break
    return {
        "reason": reason,
        "detail": detail,
        "step": step,
        "minutes": simulation.clock / 60,
        "users": simulation.users,
        "likes lost": simulation.likes_lost,
    }


def count(
    stored: Counter[str], arm: str, collected: Collected, chosen: Numbers
) -> None:
    """Add answers to counts, as `extras.trials.tally.Tally` does."""
    stored[f"{arm}:requests"] += len(chosen)
    for name in NAMES:
        stored[f"{arm}:{name}"] += int(collected.problems[name][chosen].sum())
    for milliseconds in collected.milliseconds[chosen]:
        stored[f"{arm}:<{bucket_of(milliseconds)}"] += 1


def measured(
    settings: Settings, release: str, active: Collected, bad: list[Bad]
) -> dict[str, Any]:
    """Simulate each bad release once, and the active one against itself."""
    generator = np.random.default_rng(SEED)
    ends = []
    for each in bad:
        ended = simulate(active, each.collected, generator, each.likes)
        right = ended["reason"] in each.reasons
        ends.append(
            {"name": each.name, "expected": each.reasons, **ended, "right": right}
        )
    reasons: Counter[str] = Counter()
    for _ in progress(range(EQUAL), total=EQUAL):
        reasons[simulate(active, active, generator)["reason"]] += 1
    rolled_back = EQUAL - reasons.pop("", 0)
    return {
        **figures.head("make canary-simulation", settings, settings.recipe),
        "release": release,
        "lists": len(active.likes),
        "rate": RATE,
        "share": SHARE,
        "users": STEP_USERS,
        "bad": ends,
        "taken back": sum(bool(each["reason"]) for each in ends),
        "right": sum(each["right"] for each in ends),
        "equal": {
            "comparisons": EQUAL,
            "rolled back": rolled_back,
            "reasons": dict(reasons),
        },
    }


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.canary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parse_users(parser, USERS)
    requests, release = (
        Requests.of(settings, size),
        release_of_artifacts(settings).release,
    )
    with closing(recommender_of(settings, release)) as recommender:
        active, bad = bad_releases(recommender, requests, release)
    found = measured(settings, release, active, bad)
    path = figures.path_of(found, settings, "canary")
    figures.write(path, found)
    figures.show(found["bad"], "bad releases")


if __name__ == "__main__":
    steps.run(main)
