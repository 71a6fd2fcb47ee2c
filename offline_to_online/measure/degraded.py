"""What an answer is worth that lacks a service: the server's own code over the running services, but for some of them.

A recommender is made as the server makes it and asked for every user at the moment of the first held-out rating; its
services are declared dead in turns. What it remembers of users it knows from a first round with all services.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings)
Writes  pic/figures/degraded.json (another recipe's or data set's: with its name)
Run     make evaluate-degraded, after make up sync
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.machine import machine
from data_exchange_center.own_ids import OwnId
from data_exchange_center.progress import progress
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import write
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout
from online.recommend.recommender import Recommender
from online.recommend.types import MAX_BUDGET_MS, Outcome, Request

K = 50
# Other outcomes are answers of full quality: the service has nothing on a user or an item.
WITHOUT = (Outcome.LAST_STATE, Outcome.EXACT_SEARCH, Outcome.LAST_FEATURES, Outcome.NOT_RANKED, Outcome.POPULAR)
ALL = ("redis", "elasticsearch", "feast", "triton")


@dataclass(frozen=True)
class Case:
    """Which services are away, and whether the server has seen the users before."""

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
)


def measure(
    remembering: Recommender, forgetful: Recommender, holdout: Holdout, userids: Sequence[OwnId]
) -> dict[str, dict[str, float]]:
    """Case -> recall and NDCG at `K`, means over users. One recommender remembers every user, the other nobody.

    ``userids``: what the server calls the holdout's users.

    Raises StepError when an answer lacks another service than those that are away.
    """
    found = {}
    for case in CASES:
        recommender = remembering if case.seen_before else forgetful
        lists = holdout.judged(answers(recommender, case, holdout, userids))
        values = {
            f"recall@{K}": metrics.recall(lists, holdout.relevance, K),
            f"ndcg@{K}": metrics.ndcg(lists, holdout.relevance, K),
        }
        found[case.name] = {name: float(np.nanmean(value)) for name, value in values.items()}
    return found


def answers(recommender: Recommender, case: Case, holdout: Holdout, userids: Sequence[OwnId]) -> Lists:
    """(users, `K`) item codes, 0 where a list is shorter."""
    lists = np.zeros((holdout.past.n_users, K), dtype=np.int64)
    for service in case.away:
        recommender.declare_dead(service)
    try:
        asked = _asked(recommender, case, holdout, userids)
        for user, ids in enumerate(progress(asked, total=len(lists), desc=case.name)):
            lists[user, : len(ids)] = np.searchsorted(holdout.past.itemids, ids) + 1
    finally:
        for service in case.away:
            recommender.declare_dead(service, None)
    return lists


def _asked(recommender: Recommender, case: Case, holdout: Holdout, userids: Sequence[OwnId]) -> Iterator[Sequence[int]]:
    for userid, time in zip(userids, holdout.times.tolist(), strict=True):
        request = Request(userid=userid, size=K, timestamp=time, budget_ms=MAX_BUDGET_MS, strict=not case.away)
        answer = recommender.recommend(request)
        if others := {lacking.service for lacking in answer.lacking if lacking.outcome in WITHOUT} - set(case.away):
            raise StepError(f"User {userid!r} was answered without {', '.join(sorted(others))} too; run it again.")
        yield [itemid for itemid, _, _ in answer.items]


def show(found: dict[str, Any], console: Console) -> None:
    table = Table("", *(next(iter(found["cases"].values()))))
    for name, values in found["cases"].items():
        table.add_row(name, *(f"{value:.4f}" for value in values.values()))
    console.print(table)


def _recommender(settings: Settings, known_users: int, release: str) -> Recommender:
    """One that serves the live release. Raises StepError when that is another one than ``release``."""
    server = settings.server.model_copy(update={"known_users": known_users})
    recommender = Recommender.from_settings(settings.model_copy(update={"server": server}))
    recommender.warm_up().result()
    live = recommender.status().release
    if live != release:
        recommender.close()
        raise StepError(f"Release {live} is live, the artifacts are release {release}.", "Run `make up sync`.")
    return recommender


def main(settings: Settings) -> None:
    inputs, release = read_with_holdout(settings), release_of_artifacts(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    with ExitStack() as ends:
        remembering, forgetful = (
            ends.enter_context(closing(_recommender(settings, known_users, release.release)))
            for known_users in (holdout.past.n_users, 0)
        )
        own_ids = read_own_ids(settings.exchange_dir).users
        userids = [own_ids[number] for number in holdout.past.userids.tolist()]
        cases = measure(remembering, forgetful, holdout, userids)
    found = {
        "command": "make evaluate-degraded",
        "machine": machine(),
        "dataset": release.dataset.name,
        "recipe": settings.recipe.name,
        "release": release.release,
        "users": int(holdout.past.n_users),
        "cases": cases,
    }
    write(found, settings, "degraded")
    show(found, Console())


if __name__ == "__main__":
    steps.run(main)
