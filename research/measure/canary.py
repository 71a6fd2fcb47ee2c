"""Simulate canaries over lists of the running services: what bad releases cost until they are rolled back.

Lists, latencies and outcomes are collected once for each release: the server's own code in this process, over the four
services, answers some users at the moment of their first held-out rating. A bad release is the active one with a fault
put into what a process loads of it, or into a client (`MADE`); a few are made from the active release's answers
(`CHANGED`). Then canaries are simulated: users, drawn from the collected ones, arrive at `RATE` a second, their answers
are counted as servers count them, and `extras.canary.decision.decide`, with its usual limits, decides.

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
from concurrent.futures import ThreadPoolExecutor
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
from extras.canary.decision import ACTIVE, CANARY, CanarySettings, Decision, Likes, as_counts, bucket_of, decide
from extras.canary.hook import Titles, overlap_of, problems
from extras.canary.likes import relative
from extras.canary.state import STEPS
from offline.evaluation import metrics
from online.clients.base import Deadline, StoredError
from online.clients.feast import ItemCache
from online.clients.triton import NOT_NUMBERS, ScoreQuery
from online.recommend.loaded_release import Release
from online.recommend.recommend import Recommender
from online.recommend.types import MAX_BUDGET_MS, Answer, Request
from research import figures
from research.measure.in_process import SEED, Requests, parse_users, recommender_of

K: Final = 50
USERS: Final = 400  # whose lists are collected
RATE: Final = 50.0  # requests a second of all users
SHARE: Final = 0.05
STEP_USERS: Final = 10_000  # `users=` of the simulated canaries
LOOKS: Final = 40  # decisions in a step; servers decide twice a second
COMPARED: Final = 1_000  # lists of a step that are compared with the active release's, at most
NOTICED: Final = 0.5
EQUAL: Final = 500  # comparisons of the active release with itself
STALE: Final = 20  # of each user's last events, which a stale release does not have
NAMES: Final = ("errors", "degraded", "short", "wrong", "scores")


@dataclass(frozen=True)
class Collected:
    """Answers of a release to the same users.

    Attributes:
        problems: name -> (users,) whether the answer counts against the guardrail.
        milliseconds: (users,).
        overlap: (users,) items of the first ten that the active release's list has, too.
        likes: (users,) held-out liked items on the list.
    """

    problems: Mapping[str, NDArray[np.bool_]]
    milliseconds: NDArray[np.float64]
    overlap: NDArray[np.int64]
    likes: NDArray[np.int64]

    def where(self, share: float, name: str, seed: int = SEED, **more: Any) -> Collected:
        """The same with a problem in a share of the answers, whose lists are lost if they are empty or wrong."""
        hit = np.random.default_rng(seed).random(len(self.likes)) < share
        likes = np.where(hit, 0, self.likes) if more.pop("lost", False) else self.likes
        return replace(self, problems={**self.problems, name: self.problems[name] | hit}, likes=likes)

    def slower(self, share: float, milliseconds: float) -> Collected:
        """The same with a delay of a share of the answers."""
        hit = np.random.default_rng(SEED).random(len(self.likes)) < share
        return replace(self, milliseconds=self.milliseconds + hit * milliseconds)


# --- releases: the active one, with a fault


class Scorer:
    """The client of Triton, whose scores are changed."""

    def __init__(self, scorer: Any, change: Callable[[NDArray[np.float32], ScoreQuery], NDArray[np.float32]]) -> None:
        self._scorer, self._change = scorer, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def call(self, query: ScoreQuery, deadline: Deadline | None = None) -> NDArray[np.float32]:
        return self._change(self._scorer.call(query, *([deadline] if deadline else [])), query)


@contextmanager
def scored(
    recommender: Recommender, change: Callable[[NDArray[np.float32], ScoreQuery], NDArray[np.float32]]
) -> Iterator[None]:
    """A ranking model whose scores are others."""
    before = recommender.scorer
    recommender.scorer = cast(Any, Scorer(before, change))
    try:
        yield
    finally:
        recommender.scorer = before


@contextmanager
def loaded(recommender: Recommender, view: Callable[[Release], Release]) -> Iterator[None]:
    """A release of which a process has loaded something else."""
    before = {each.release: each for each in recommender.releases.replace_each(lambda opened: opened)}
    recommender.releases.replace_each(view)
    try:
        yield
    finally:
        recommender.releases.replace_each(lambda opened: before[opened.release])


@contextmanager
def known(recommender: Recommender, view: Callable[[StoredUser], StoredUser]) -> Iterator[None]:
    """A release that knows other histories of its users."""
    hook = recommender.phases.state.append(lambda _, __, user: user and view(user))
    try:
        yield
    finally:
        hook.needed = False


def shuffled(scores: NDArray[np.float32], _: ScoreQuery) -> NDArray[np.float32]:
    """Scores without information, as of a model that is fitted on shuffled labels."""
    return np.random.default_rng(len(scores)).permutation(scores)


def with_nan(codes: NDArray[np.integer], column: int) -> Callable[..., NDArray[np.float32]]:
    """A model that gives NaN for the items of some codes, which the client refuses as it does Triton's."""

    def change(scores: NDArray[np.float32], query: ScoreQuery) -> NDArray[np.float32]:
        if np.isin(query.inputs.rows[:, column].astype(np.int64), codes).any():
            raise StoredError("triton", NOT_NUMBERS)
        return scores

    return change


def delayed(scores: NDArray[np.float32], _: ScoreQuery) -> NDArray[np.float32]:
    time.sleep(0.08)
    return scores


def half(user: StoredUser) -> StoredUser:
    """Every other event of the history: a release of half of the data."""
    return replace(user, history=selected(user.history, np.arange(len(user.history)) % 2 == 0))


def stale(user: StoredUser) -> StoredUser:
    """Without the newest events, which a release does not have whose features are old."""
    return replace(user, history=selected(user.history, np.arange(len(user.history)) >= STALE))


def selected(history: History, kept: NDArray[np.bool_]) -> History:
    """Some events of a history, newest first."""
    return History(history.item_numbers[kept], history.ratings[kept], history.times[kept])


def old_items(opened: Release) -> Release:
    """Features of the items in another order: those of an earlier numbering."""
    held = opened.items.current()
    rows = held.rows[np.random.default_rng(SEED).permutation(len(held.item_numbers))]
    cache = ItemCache(lambda: replace(held, rows=rows), inf, ThreadPoolExecutor(1))
    return replace(opened, items=cache)


def swapped(numbers: NDArray[np.integer]) -> Callable[[Release], Release]:
    """Own ids of these items given to the next one of them, as after a wrong join of a catalogue."""

    def view(opened: Release) -> Release:
        catalogue = dict(opened.catalogue)
        for here, there in zip(numbers.tolist(), np.roll(numbers, 1).tolist(), strict=True):
            catalogue[here] = replace(opened.catalogue[here], own_id=opened.catalogue[there].own_id)
        return replace(opened, catalogue=catalogue)

    return view


# --- their lists


def collect(
    recommender: Recommender, requests: Requests, name: str, opened: Release, active: list[Answer] | None = None
) -> tuple[Collected, list[Answer]]:
    """Answers of what is loaded now. ``opened``, ``active``: the active release and its answers; None: this is it."""
    titles, numbers, answers = Titles(opened), opened.numbers, []
    for row in progress(requests.rows, total=len(requests.rows), desc=name, unit="user"):
        moment = int(requests.holdout.times[row])
        fields = {"userid": requests.userids[row], "timestamp": moment, "size": K, "budget_ms": MAX_BUDGET_MS}
        answers.append(recommender.recommend(Request(**fields, release=opened.release)))
    found = [problems(each, K, served=True) + ([] if titles.agree(each) else ["wrong"]) for each in answers]
    return Collected(
        {name: np.array([name in each for each in found]) for name in NAMES},
        np.array([each.took_ms["total"] for each in answers]),
        np.array([overlap_of(*pair) for pair in zip(answers, active or answers, strict=True)]),
        liked(requests, answers, numbers),
    ), answers


def liked(requests: Requests, answers: list[Answer], numbers: Mapping[OwnId, int]) -> NDArray[np.int64]:
    """(users,) held-out liked items on each list, by the ids that it shows."""
    lists = np.zeros((len(requests.userids), K), np.int64)
    for row, answer in zip(requests.rows, answers, strict=True):
        ids = [numbers[own] for own in answer.itemids if own in numbers]
        lists[row, : len(ids)] = np.searchsorted(requests.holdout.past.item_numbers, ids) + 1
    hits = metrics.hits(requests.holdout.judged(lists), requests.holdout.relevance)
    return np.asarray(hits[requests.rows].sum(axis=1), np.int64)


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


def bad_releases(recommender: Recommender, requests: Requests, release: str) -> tuple[Collected, list[Bad]]:
    """The release as it is, and the bad ones."""
    opened = recommender.releases.get(release)
    collect(recommender, requests, "warm-up", opened)
    active, answers = collect(recommender, requests, "active", opened)
    item = opened.spec.columns.index(Columns.ITEM)
    codes = np.arange(500, len(opened.catalogue), 1_000)  # one item in a thousand
    numbers = np.array(sorted(opened.catalogue))
    made = {
        "scores of shuffled labels": (("distance", "likes"), scored(recommender, shuffled)),
        "scores of the opposite sign": (("distance", "likes"), scored(recommender, lambda scores, _: 1 - scores)),
        "all scores equal": (("scores",), scored(recommender, lambda scores, _: np.full_like(scores, 0.5))),
        "NaN for one item in a thousand": (("scores",), scored(recommender, with_nan(codes, item))),
        "80 ms slower": (("latency",), scored(recommender, delayed)),
        "half of the data": (("distance", "likes"), known(recommender, half)),
        f"stale: without the last {STALE} events": (("distance", "likes"), known(recommender, stale)),
        "item features in another order": (("distance", "likes"), loaded(recommender, old_items)),
        "wrong ids in 2 % of the lists": (("wrong",), loaded(recommender, swapped(rare(opened, answers, 0.02)))),
        "wrong ids in all lists": (("wrong",), loaded(recommender, swapped(numbers))),
    }
    found = []
    for name, (reasons, fault) in made.items():
        with fault:
            found.append(Bad(name, reasons, collect(recommender, requests, name, opened, answers)[0]))
    others = np.random.default_rng(SEED).permutation(len(answers))
    lists = [answers[other] for other in others]
    of_others = replace(
        active,
        overlap=np.array([overlap_of(*pair) for pair in zip(lists, answers, strict=True)]),
        likes=liked(requests, lists, opened.numbers),
    )
    found += [
        Bad("lists of other users", ("distance", "likes"), of_others),
        Bad("3 % fewer likes", ("likes",), active, 0.97),
        Bad("10 % fewer likes", ("likes",), active, 0.9),
        Bad("20 % fewer likes", ("likes",), active, 0.8),
        Bad("errors in 2 % of the requests", ("errors",), active.where(0.02, "errors", lost=True)),
        Bad("5 % degraded", ("degraded",), active.where(0.05, "degraded")),
        Bad("4 % short lists", ("short",), active.where(0.04, "short")),
        Bad("2 % empty lists", ("short",), active.where(0.02, "short", lost=True)),
        Bad("5 % of the requests 250 ms slower", ("latency",), active.slower(0.05, 250.0)),
        Bad("30 ms slower", ("latency",), active.slower(1.0, 30.0)),
    ]
    return active, found


def rare(opened: Release, answers: list[Answer], share: float) -> NDArray[np.int64]:
    """Numbers of seldom listed items, of which this share of the lists has one."""
    listed = Counter(own for answer in answers for own in answer.itemids)
    chosen: list[OwnId] = []
    for own, _ in reversed(listed.most_common()):
        chosen.append(own)
        if sum(not set(chosen).isdisjoint(answer.itemids) for answer in answers) >= share * len(answers):
            break
    return np.array([opened.numbers[own] for own in chosen])


# --- the simulation


def simulate(
    active: Collected, canary: Collected, generator: np.random.Generator, likes: float = 1.0
) -> dict[str, Any]:
    """One canary, from its start to its end. ``likes``: as of `Bad`."""
    limits, clock, lost, planned = CanarySettings(), 0.0, 0.0, 2 * STEP_USERS
    shares = (SHARE, *STEPS)
    treated: list[NDArray[np.bool_]] = []
    values: list[NDArray[np.int64]] = []
    ends: list[float] = []  # when each of them is known
    n, found, total = STEP_USERS // LOOKS, Likes(), 0
    for step, share in enumerate(shares):
        stored: Counter[str] = Counter()
        began = clock
        for look in range(1, LOOKS + 1):
            clock += n / (RATE * share)
            chosen = generator.integers(len(canary.likes), size=n)
            total += n
            count(stored, CANARY, canary, chosen)
            compared = canary.overlap[chosen[: COMPARED // LOOKS]]
            stored.update({"compared": len(compared), "overlap": int(compared.sum())})
            lost += NOTICED * float((active.likes[chosen] - likes * canary.likes[chosen]).sum())
            others = generator.integers(len(active.likes), size=n)
            count(stored, ACTIVE, active, others)
            treated.append(np.repeat([True, False], n))
            theirs = generator.binomial(canary.likes[chosen], NOTICED * likes)
            values.append(np.concatenate([theirs, generator.binomial(active.likes[others], NOTICED)]))
            ends.append(clock + limits.horizon_s)
            if over := int(np.searchsorted(ends, clock, "right")):
                order = generator.permutation(2 * n)  # the two groups arrive in turns
                seen = np.concatenate([each[order] for each in values[:over]]).astype(np.float64)
                found = relative(seen, np.concatenate([each[order] for each in treated[:over]]), planned)
            counts = as_counts(stored, users=look * n, seconds=clock - began, likes=found)
            decision: Decision = decide(counts, limits, STEP_USERS)
            if decision.action == "roll back":
                ended = {"reason": decision.reason, "detail": decision.detail, "step": step + 1}
                return {**ended, "minutes": clock / 60, "users": total, "likes lost": lost}
    return {"reason": "", "detail": "", "step": len(shares), "minutes": clock / 60, "users": total, "likes lost": lost}


def count(stored: Counter[str], arm: str, collected: Collected, chosen: NDArray[np.integer]) -> None:
    """Add answers to counts, as `extras.canary.hook.Tally` does."""
    stored[f"{arm}requests"] += len(chosen)
    for name in NAMES:
        stored[arm + name] += int(collected.problems[name][chosen].sum())
    buckets, numbers = np.unique([bucket_of(each) for each in collected.milliseconds[chosen]], return_counts=True)
    for bucket, number in zip(buckets.tolist(), numbers.tolist(), strict=True):
        stored[f"{arm}<{bucket}"] += number


def measured(settings: Settings, release: str, active: Collected, bad: list[Bad]) -> dict[str, Any]:
    """Simulate each bad release once, and the active one against itself."""
    generator = np.random.default_rng(SEED)
    ends = []
    for each in bad:
        ended = simulate(active, each.collected, generator, each.likes)
        ends.append({"name": each.name, "expected": each.reasons, **ended, "right": ended["reason"] in each.reasons})
    reasons = Counter(simulate(active, active, generator)["reason"] for _ in progress(range(EQUAL), total=EQUAL))
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
        "equal": {"comparisons": EQUAL, "rolled back": rolled_back, "reasons": dict(reasons)},
    }


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.canary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parse_users(parser, USERS)
    requests, release = Requests.of(settings, size), release_of_artifacts(settings).release
    with closing(recommender_of(settings, 0, release)) as recommender:
        active, bad = bad_releases(recommender, requests, release)
    found = measured(settings, release, active, bad)
    path = figures.path_of(found, settings, "canary")
    figures.write(path, found)
    figures.show(found["bad"], "bad releases")


if __name__ == "__main__":
    steps.run(main)
