"""Evaluate degraded answers: the server's own code over the running services, but for some of them.

A recommender is made as the server makes it, and called for every user, or some, at the moment of the first held-out
rating; its services are declared dead in turns. What it remembers of users is of a first round with all services.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings)
Writes  pic/figures/degraded.json (another recipe's or data set's: with its name)
Run     make evaluate-degraded, after make up sync; users=1000: of so many users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_result, stop_after_delay

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import PIPELINE
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import figure, head
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout
from online.recommend.recommend import Recommender
from online.recommend.types import MAX_BUDGET_MS, WITHOUT_A_SERVICE, Request
from research.figures import recommendations
from research.measure.some_users import parse_users, sample
from research.reports import publish

K = 50
OPENS_WITHIN_S = 60.0  # on a busy machine; it takes one
ALL = ("redis", "elasticsearch", "feast", "triton")


@dataclass(frozen=True)
class Case:
    """Services that are away, and whether the server has seen the users before."""

    name: str
    away: tuple[str, ...]
    seen_before: bool = True


CASES = (
    Case("all there", ()),
    Case("no Triton", ("triton",)),
    Case("no Feast", ("feast",)),
    Case("no Feast, a user not seen before", ("feast",), seen_before=False),
    Case("no Elasticsearch", ("elasticsearch",)),
    Case("no Redis", ("redis",)),
    Case("no Redis, a user not seen before", ("redis",), seen_before=False),
    Case("none of the four", ALL),
    Case("none of the four, a user not seen before", ALL, seen_before=False),
)


def measure(
    remembering: Recommender,
    forgetful: Recommender,
    holdout: Holdout,
    userids: Sequence[OwnId],
    rows: NDArray[np.intp],
) -> dict[str, dict[str, float]]:
    """Case -> recall and NDCG at `K`, means over users. One recommender remembers every user, the other nobody.

    Args:
        userids: what the server calls the holdout's users.
        rows: the users with a request.

    Raises StepError when an answer lacks another service than those that are away.
    """
    found = {}
    for case in CASES:
        recommender = remembering if case.seen_before else forgetful
        lists = holdout.judged(answers(recommender, case, holdout, userids, rows))
        values = {
            f"recall@{K}": metrics.recall(lists, holdout.relevance, K),
            f"ndcg@{K}": metrics.ndcg(lists, holdout.relevance, K),
        }
        found[case.name] = {name: float(np.nanmean(value[rows])) for name, value in values.items()}
    return found


def answers(
    recommender: Recommender, case: Case, holdout: Holdout, userids: Sequence[OwnId], rows: NDArray[np.intp]
) -> Lists:
    """(users, `K`) item codes, 0 where a list is shorter, and for users without a request."""
    lists = np.zeros((holdout.past.n_users, K), dtype=np.int64)
    for service in case.away:
        recommender.breakers[service].declare_dead("is declared dead")
    try:
        users = [(userids[row], int(holdout.times[row])) for row in rows]
        asked = _asked(recommender, case, users)
        for user, ids in zip(rows, progress(asked, total=len(rows), desc=case.name), strict=True):
            lists[user, : len(ids)] = np.searchsorted(holdout.past.itemids, ids) + 1
    finally:
        for service in case.away:
            recommender.breakers[service].declare_dead(None)
    return lists


def _asked(recommender: Recommender, case: Case, users: Sequence[tuple[OwnId, int]]) -> Iterator[Sequence[int]]:
    """``users``: of the requests, and the second of each."""
    for userid, time in users:
        request = Request(userid=userid, size=K, timestamp=time, budget_ms=MAX_BUDGET_MS, strict=not case.away)
        answer = recommender.recommend(request)
        missing = {lacking.service for lacking in answer.degraded if lacking.outcome in WITHOUT_A_SERVICE}
        if others := missing - set(case.away):
            raise StepError(f"User {userid!r} was answered without {', '.join(sorted(others))} too; run it again.")
        opened = recommender.releases.serving
        yield [opened.numbers[each] for each in answer.itemids] if opened is not None else []


def recommender_of(settings: Settings, known_users: int, release: str) -> Recommender:
    """One that serves the live release. Raises StepError when that is another one than ``release``."""
    server = settings.server.model_copy(update={"known_users": known_users})
    recommender = Recommender.from_settings(settings.model_copy(update={"server": server}))
    not_yet = retry_if_result(lambda live: live is None)
    opening = Retrying(stop=stop_after_delay(OPENS_WITHIN_S), retry=not_yet, retry_error_callback=lambda _: None)

    def opened() -> str | None:
        recommender.warm_up().result()
        serving = recommender.releases.serving
        return serving.release if serving else None

    live = opening(opened)
    if live != release:
        recommender.close()
        raise StepError(f"Release {live} is live, the artifacts are release {release}.", "Run `make up sync`.")
    return recommender


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.measure.degraded", description=__doc__)
    size = parse_users(parser)
    inputs, release = read_with_holdout(settings), release_of_artifacts(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    with ExitStack() as ends:
        remembering, forgetful = (
            ends.enter_context(closing(recommender_of(settings, known_users, release.release)))
            for known_users in (holdout.past.n_users, 0)
        )
        own_ids = read_own_ids(settings.exchange_dir).users
        userids = [own_ids[number] for number in holdout.past.userids.tolist()]
        rows = sample(holdout.past.n_users, size)
        cases = measure(remembering, forgetful, holdout, userids, rows)
    found = {
        **head(f"make evaluate-degraded{f' users={size}' if size else ''}", settings, settings.recipe),
        "release": release.release,
        "users": len(rows),
        "cases": cases,
    }
    code = (*PIPELINE, "research/measure/degraded.py")
    publish(figure(found, settings, "degraded"), found, code, recommendations.degraded)


if __name__ == "__main__":
    steps.run(main)
