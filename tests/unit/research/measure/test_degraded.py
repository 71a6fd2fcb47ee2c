from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import ServerSettings
from data_exchange_center.steps import StepError
from offline.data.sequences import Sequences
from offline.evaluation import metrics
from offline.evaluation.replay import Holdout, holdout_of
from online.recommend.fallback import LastRelease
from online.recommend.recommend import Recommender
from research.measure.degraded import CASES, K, measure
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import LAST_EVENT, DefaultWorld

WORLD = DefaultWorld()
EVERYBODY = np.arange(len(WORLD.userids))
Services = tuple[FakeUsers, FakeItems, FakeFeatures, FakeScorer]


@pytest.fixture
def services() -> Services:
    return FakeUsers(WORLD, live=WORLD.release), FakeItems(WORLD), FakeFeatures(WORLD), FakeScorer(WORLD)


@pytest.fixture
def recommenders(services: Services, tmp_path: Path) -> Iterator[list[Recommender]]:
    made = [
        Recommender(*services, ServerSettings(known_users=n), LastRelease(tmp_path / str(n)))  # type: ignore[arg-type]
        for n in (100, 0)
    ]
    for recommender in made:
        recommender.warm_up().result(10)
    yield made
    for recommender in made:
        recommender.close()


@pytest.fixture
def holdout() -> Holdout:
    """Everybody likes some of what is popular and some of what the model recommends."""
    rng = np.random.default_rng(0)
    itemids = np.array(sorted(WORLD.itemids))
    popular = [itemid for itemid, _ in WORLD.popular[:60]]

    def events(of: dict[int, list[int]], at: int) -> Sequences:
        items = [np.searchsorted(itemids, of[userid]) + 1 for userid in WORLD.userids]
        starts = np.concatenate([[0], np.cumsum([len(each) for each in items])])
        flat = np.concatenate(items)
        return Sequences(
            np.array(WORLD.userids), itemids, starts, flat, np.full(len(flat), 5), np.ones(len(flat), bool),
            np.full(len(flat), at),
        )  # fmt: skip

    liked = {
        userid: sorted({*rng.choice(itemids, 40).tolist(), *popular[::3]} - set(WORLD.seen[userid]))
        for userid in WORLD.userids
    }
    return holdout_of(events(WORLD.seen, LAST_EVENT), events(liked, LAST_EVENT + 600))


def test_every_answer_is_worth_something_and_what_is_the_same_is_worth_the_same(
    recommenders: list[Recommender], holdout: Holdout
) -> None:
    found = measure(recommenders[0], recommenders[1], holdout, WORLD.userids, EVERYBODY)
    assert list(found) == [case.name for case in CASES]
    whole = found["all there"]
    assert found["no Elasticsearch"] == found["no Redis"] == found["no Feast"] == whole
    unranked = found["no Triton"]
    assert found["no Feast, a user not seen before"] == found["none of the four"] == unranked != whole
    popular = np.tile(np.searchsorted(holdout.past.itemids, [i for i, _ in WORLD.popular[:K]]) + 1, (12, 1))
    expected = np.nanmean(metrics.recall(holdout.judged(popular), holdout.relevance, K))
    assert found["no Redis, a user not seen before"][f"recall@{K}"] == pytest.approx(expected)
    assert found["none of the four, a user not seen before"] == found["no Redis, a user not seen before"]
    assert {each.state for each in recommenders[0].breakers.values()} == {"closed"}, "and they are asked again"


def test_a_service_that_fails_meanwhile_spoils_the_measurement_and_is_named(
    recommenders: list[Recommender], holdout: Holdout, services: Services
) -> None:
    asked = 0

    def fail_late() -> None:
        nonlocal asked
        asked += 1
        services[3].down = asked > len(WORLD.userids)

    services[3].on_call = fail_late
    with pytest.raises(StepError, match="without triton too"):
        measure(recommenders[0], recommenders[1], holdout, WORLD.userids, EVERYBODY)
