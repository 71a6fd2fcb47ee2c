"""The questions over the real services: the filter inside Elasticsearch's search, and rules that reach every worker."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.questions import rules
from extras.questions.rules import rules_key
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.own_stack import redis_of
from tests.services.conftest import ONE_WORLD, server_of
from tests.unit.extras.asking import USER, ask, ids
from tests.unit.online.world import (
    LONG_HISTORY_USER,
    NO_VECTOR_ITEM,
    World,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def http(
    patient: Settings, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlaskClient]:
    # none: events may be sent without
    keys = tmp_path_factory.mktemp("keys") / "api_keys"
    settings = patient.model_copy(
        update={"server": patient.server.model_copy(update={"keys_file": keys})}
    )
    with server_of(settings) as client:
        yield client


def chosen(world: World) -> list[int]:
    """A third of the items, one that was never trained among them."""
    return [
        itemid
        for itemid in world.itemids[:-1]
        if itemid % 3 == 1 and (itemid // 3) % 3 != 0
    ]


@pytest.mark.parametrize("userid", [USER, LONG_HISTORY_USER])
def test_filtered_search_equals_exact_search_per_channel(
    http: FlaskClient, world: World, userid: int
) -> None:
    only = chosen(world)
    assert NO_VECTOR_ITEM in only
    own = [world.own_item(itemid) for itemid in only]
    answer = ask(
        http,
        userid=world.own_user(userid),
        only=own,
        size=200,
        explain="recall",
        strict=True,
    )
    left_out = [*world.seen[userid], *set(world.itemids).difference(only)]
    vectors, recall = world.user_vectors(userid), world.recipe.recall
    for channel in recall.channels:
        found = [world.item_numbers[each] for each in answer["recall"][channel.name]]
        vector, terms = vectors[channel.name], world.user_terms[userid]
        exact = world.search(channel, vector, terms, left_out, recall.candidates)
        scores = dict(zip(exact.ids.tolist(), exact.scores.tolist(), strict=True))
        assert sorted(found) == sorted(scores)
        np.testing.assert_allclose(
            [scores[each] for each in found], exact.scores, rtol=1e-4, atol=1e-5
        )
    unseen = set(only) - set(world.seen[userid])
    assert {world.item_numbers[each] for each in ids(answer)} == unseen or len(
        ids(answer)
    ) == 200
    assert answer["matching"] == len(only)


def followed(worker: FlaskClient, seen: Callable[[list[Any]], bool]) -> list[Any]:
    """The list of the first request that begins after the worker shows that it follows the rules."""
    until(lambda: seen(ids(ask(worker, strict=True))))
    return ids(ask(worker, strict=True))


@ONE_WORLD
def test_rules_reach_every_worker_and_every_answer(
    patient: Settings, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make rules` without a release: two servers, that know of each other by Redis alone."""
    path, key = tmp_path / "rules.toml", rules_key(world.dataset)
    with (
        closing(Recommender.from_settings(patient)) as one,
        closing(Recommender.from_settings(patient)) as other,
    ):
        workers = [
            create_app(recommender, patient).test_client()
            for recommender in (one, other)
        ]
        for each in (one, other):
            each.releases.follow()
        best = ids(ask(workers[0], strict=True))
        path.write_text(f"hidden = {best[:3]}\nhide = {best[:1]}")
        with pytest.raises(StepError, match="hide"):
            rules.main(patient, ["--file", f"{path}"])
        with redis_of(patient) as store:
            assert not store.exists(key), "nothing is half written"
        try:
            path.write_text(f"hidden = {best[:3]}")
            rules.main(patient, ["--file", f"{path}"])
            unboosted = [
                followed(worker, lambda after: set(best[:3]).isdisjoint(after))
                for worker in workers
            ]
            assert unboosted[0] == unboosted[1]
            *left, last = unboosted[0][:40]
            path.write_text(f"hidden = {best[:3]}\nboosted = [{last}]")
            rules.main(patient, ["--file", f"{path}"])
            for worker in workers:
                after = followed(worker, lambda after: last in after[:30])
                assert after == [*left[:19], last, *left[19:], *unboosted[0][40:]]
                assert set(best[:3]).isdisjoint(
                    ids(ask(worker, path="/ml/rank", candidates=best))
                )
            rules.main(patient, [])
            assert "3 items are hidden" in capsys.readouterr().out
        finally:
            rules.main(patient, ["--clear"])
        assert [
            followed(worker, lambda after: set(best[:3]) <= set(after))
            for worker in workers
        ] == [best, best]
