"""What each client promises: one class a client, run against its fake and against the real service.

A subclass gives the fixture ``client``, loaded with ``world``.
"""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.recipes import RecallRecipe
from online.clients.base import GoneError
from online.clients.elastic import ElasticItems, ItemQuery
from online.clients.feast import FeastFeatures, FeatureQuery
from online.clients.redis import RedisUsers, UserQuery
from online.clients.triton import ScoreQuery, TritonScores
from tests.unit.online.world import (
    LONG_HISTORY_USER,
    NO_FEATURES_USER,
    NO_VECTOR_USER,
    UNKNOWN_USER,
    World,
)

NOWHERE = "ffffffffffff"  # a release that was never loaded


@pytest.fixture(scope="session")
def world() -> World:
    return World()


class RedisUsersContract:
    def test_a_user_comes_back_as_stored(self, client: RedisUsers, world: World) -> None:
        for userid in world.userids:
            user = client.call(UserQuery(userid, world.release)).user
            assert user is not None
            assert user.terms == world.user_terms[userid]
            assert user.seen.tolist() == world.seen[userid]
            if userid in world.user_vectors:
                assert user.vector is not None
                np.testing.assert_array_equal(user.vector, world.user_vectors[userid])
            else:
                assert user.vector is None

    def test_the_live_release_comes_with_every_answer(self, client: RedisUsers, world: World) -> None:
        assert client.call(UserQuery(1, world.release)).live == world.release
        assert client.call(UserQuery(1, None)).live == world.release
        assert client.call(UserQuery(1, None)).user is None

    def test_who_is_unknown_is_none(self, client: RedisUsers, world: World) -> None:
        assert client.call(UserQuery(UNKNOWN_USER, world.release)).user is None
        assert client.call(UserQuery(1, NOWHERE)).user is None

    def test_what_was_published(self, client: RedisUsers, world: World) -> None:
        assert client.published(world.release) == world.published
        assert client.published(NOWHERE) is None

    def test_the_popular_list(self, client: RedisUsers, world: World) -> None:
        assert client.popular(world.release) == world.popular
        assert client.popular(NOWHERE) == []

    def test_ping_says_a_version(self, client: RedisUsers) -> None:
        assert client.ping().version


class ElasticItemsContract:
    def _query(self, world: World, userid: int, **changes: object) -> ItemQuery:
        facts: dict[str, object] = {
            "terms": world.user_terms[userid], "vector": world.user_vectors.get(userid), "seen": world.seen[userid],
        }  # fmt: skip
        return ItemQuery(world.release, **(facts | changes))  # type: ignore[arg-type]

    def _truth(self, world: World, query: ItemQuery) -> dict[int, float]:
        scores = {}
        for itemid in set(world.itemids) - set(np.asarray(query.seen).tolist()):
            score = query.recall.term_weight * bool(set(query.terms) & set(world.genres[itemid]))
            if query.vector is not None and itemid in world.item_vectors:
                product = float(world.item_vectors[itemid] @ query.vector)
                score += query.recall.vector_weight * (product + 1 if product >= 0 else 1 / (1 - product))
            scores[itemid] = score
        return scores

    @pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER, 8, 10])
    def test_the_best_unseen_items_by_genre_and_vector_together(
        self, client: ElasticItems, world: World, userid: int
    ) -> None:
        query = self._query(world, userid, recall=RecallRecipe(term_weight=0.7, vector_weight=1.3))
        truth = self._truth(world, query)
        hits = client.call(query)
        unseen = len(world.itemids) - len(world.seen[userid])
        assert len(hits.itemids) == min(query.recall.candidates, unseen) == len(set(hits.itemids.tolist()))
        assert not set(hits.itemids.tolist()) & set(world.seen[userid])
        best = sorted(truth.values(), reverse=True)[: len(hits.itemids)]
        np.testing.assert_allclose(hits.scores, best, rtol=1e-4)
        np.testing.assert_allclose(hits.scores, [truth[i] for i in hits.itemids.tolist()], rtol=1e-4)

    def test_without_terms_the_order_is_the_inner_product(self, client: ElasticItems, world: World) -> None:
        query = self._query(world, 1, terms=(), recall=RecallRecipe(candidates=50))
        by_product = sorted(
            set(world.item_vectors) - set(world.seen[1]),
            key=lambda itemid: -float(world.item_vectors[itemid] @ world.user_vectors[1]),
        )
        assert client.call(query).itemids.tolist() == by_product[:50]

    def test_without_a_vector_only_the_genres_count(self, client: ElasticItems, world: World) -> None:
        hits = client.call(self._query(world, NO_VECTOR_USER))
        assert len(hits.itemids) == 200
        for itemid in hits.itemids.tolist():
            assert set(world.genres[itemid]) & set(world.user_terms[NO_VECTOR_USER])

    def test_with_neither_nothing_is_found(self, client: ElasticItems, world: World) -> None:
        assert client.call(self._query(world, 1, terms=(), vector=None)).itemids.tolist() == []

    def test_who_has_seen_everything_is_given_nothing(self, client: ElasticItems, world: World) -> None:
        assert client.call(self._query(world, 1, seen=world.itemids)).itemids.tolist() == []

    def test_count_of_a_genre(self, client: ElasticItems, world: World) -> None:
        for genre in (1, 2, 3, 4):
            assert client.count(world.release, genre) == sum(genre in codes for codes in world.genres.values())
        assert client.count(world.release, 77) == 0

    def test_the_catalogue(self, client: ElasticItems, world: World) -> None:
        catalogue = client.catalogue(world.release)
        assert {itemid: item.title for itemid, item in catalogue.items()} == world.titles
        assert {itemid: item.genres for itemid, item in catalogue.items()} == world.genres

    def test_a_release_that_is_not_there_is_told_from_other_errors(self, client: ElasticItems, world: World) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(ItemQuery(NOWHERE, (1,), None))
        assert raised.value.service == "elasticsearch"

    def test_ping_says_a_version(self, client: ElasticItems) -> None:
        assert client.ping().version


class FeastFeaturesContract:
    def test_users_come_back_raw_and_in_the_order_asked(self, client: FeastFeatures, world: World) -> None:
        rows = client.call(FeatureQuery("user", world.release, (8, 1)))
        assert rows.ids == (8, 1)
        assert rows.missing == {}
        assert set(rows.columns) == {feature.name for feature in world.spec.of("user")}
        for name, values in rows.columns.items():
            expected = [8, 1] if name == "userid" else [world.user_features[userid][name] for userid in (8, 1)]
            assert values == expected

    def test_items_come_back_raw(self, client: FeastFeatures, world: World) -> None:
        ids = world.itemids[:30]
        rows = client.call(FeatureQuery("item", world.release, ids))
        assert rows.ids == tuple(ids)
        for feature in world.spec.stored("item"):
            assert rows.columns[feature.name] == [world.item_features[itemid][feature.name] for itemid in ids]

    def test_who_is_not_stored_is_missing_and_never_zero(self, client: FeastFeatures, world: World) -> None:
        rows = client.call(FeatureQuery("user", world.release, (1, NO_FEATURES_USER, 2)))
        assert rows.ids == (1, 2)
        assert set(rows.missing) == {NO_FEATURES_USER}
        assert set(rows.missing[NO_FEATURES_USER]) == {feature.name for feature in world.spec.stored("user")}
        assert all(len(values) == 2 and None not in values for values in rows.columns.values())

    def test_nobody_stored_leaves_no_row(self, client: FeastFeatures, world: World) -> None:
        rows = client.call(FeatureQuery("user", world.release, (NO_FEATURES_USER,)))
        assert rows.ids == ()
        assert set(rows.missing) == {NO_FEATURES_USER}

    def test_a_release_that_is_not_there_is_told_from_other_errors(self, client: FeastFeatures) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(FeatureQuery("user", NOWHERE, (1,)))
        assert raised.value.service == "feast"

    def test_ping_says_a_version(self, client: FeastFeatures) -> None:
        assert client.ping().version


class TritonScoresContract:
    @pytest.mark.parametrize("n", [0, 1, 200, 256, 257, 700])
    def test_scores_are_the_models_whatever_the_number_of_rows(
        self, client: TritonScores, world: World, n: int
    ) -> None:
        rows = np.random.default_rng(n).uniform(0, 1, (n, world.spec.width)).astype(np.float32)
        scores = client.call(ScoreQuery(rows, world.model_version, world.model))
        assert scores.shape == (n,)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, world.scores(rows), atol=1e-5)

    def test_a_version_that_is_not_there_is_told_from_other_errors(self, client: TritonScores, world: World) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(ScoreQuery(np.zeros((1, world.spec.width), np.float32), 4711, world.model))
        assert raised.value.service == "triton"

    def test_a_model_that_is_not_there_is_told_from_other_errors(self, client: TritonScores, world: World) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(ScoreQuery(np.zeros((1, world.spec.width), np.float32), world.model_version, "nowhere"))
        assert raised.value.service == "triton"

    def test_ping_says_a_version(self, client: TritonScores) -> None:
        assert client.ping().version
