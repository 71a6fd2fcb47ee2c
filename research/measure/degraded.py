"""Evaluate degraded answers: the server's own code over the running services, without some of them.

A recommender is made as the server makes it, and called for every user, or some, at the moment of the first held-out
rating; its services are declared dead in turns. Its cache of users' states is from a first round with all services.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings)
Writes  pic/figures/degraded.json (another recipe's or data set's: with its name)
Run     make evaluate-degraded, after make up sync; users=1000: of 1,000 users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_exchange_center import steps
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import metrics
from online.recommend.outcomes import WITHOUT_A_SERVICE
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
from research.figures import recommendations
from research.measure.in_process import Requests, parse_users, recommender_of
from research.reports import figure, head, publish

K = 50
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


def measure(recommender: Recommender, case: Case, requests: Requests) -> dict[str, float]:
    """Recall and NDCG at `K`, means over users.

    Raises StepError when an answer lacks another service than those that are away.
    """

    def answer(fields: dict[str, Any]) -> Answer:
        found = recommender.recommend(Request(**fields, strict=not case.away))
        missing = {each.service for each in found.degraded if each.outcome in WITHOUT_A_SERVICE}
        if others := missing - set(case.away):
            away = ", ".join(sorted(others))
            raise StepError(f"User {found.userid!r} was answered without {away} too; run it again.")
        return found

    breakers = [client.breaker for client in recommender.clients if client.service in case.away]
    for breaker in breakers:
        breaker.force_open("is declared dead")
    try:
        lists = requests.holdout.judged(requests.lists(recommender, K, case.name, answer))
    finally:
        for breaker in breakers:
            breaker.force_open(None)
    values = {
        f"recall@{K}": metrics.recall(lists, requests.holdout.relevance, K),
        f"ndcg@{K}": metrics.ndcg(lists, requests.holdout.relevance, K),
    }
    return {name: float(np.nanmean(value[requests.rows])) for name, value in values.items()}


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.degraded",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parse_users(parser)
    requests, release = Requests.of(settings, size), release_of_artifacts(settings)
    with ExitStack() as ends:
        remembering, forgetful = (
            ends.enter_context(closing(recommender_of(settings, known_users, release.release)))
            for known_users in (len(requests.userids), 0)
        )
        cases = {each.name: measure(remembering if each.seen_before else forgetful, each, requests) for each in CASES}
    found = {
        **head(f"make evaluate-degraded{f' users={size}' if size else ''}", settings, settings.recipe),
        "release": release.release,
        "users": len(requests.rows),
        "cases": cases,
    }
    publish(figure(found, settings, "degraded"), found, recommendations.degraded)


if __name__ == "__main__":
    steps.run(main)
