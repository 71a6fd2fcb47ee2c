"""Contract of each client: one class a client, run against its fake and against the real service.

A subclass gives the fixture ``client``, loaded with ``world``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import HISTORY, ModelInputs
from data_exchange_center.recipes import RecallRecipe
from online.clients.base import Client, GoneError, ServiceError, StoredError
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery
from online.clients.redis import RedisUsers, UserQuery
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.loaded_release import (
    read_catalogue,
    read_channels,
    read_indexed,
    read_popular,
    read_published,
)
from tests.unit.online.world import (
    ALL_KINDS,
    BLANK_USER,
    LATER,
    LONG_HISTORY_USER,
    NO_FEATURES_USER,
    NO_TERMS_USER,
    UNKNOWN_USER,
    World,
)

Searched = ElasticItems | ExactItems
NOWHERE = "ffffffffffff"  # a release that was never loaded


@pytest.fixture(scope="session", params=ALL_KINDS, ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> World:
    return request.param()  # type: ignore[no-any-return]


class ClientContract:
    def test_ping_says_a_version(self, client: Client[Any, Any]) -> None:
        assert client.ping()


class RedisUsersContract(ClientContract):
    def test_a_user_comes_back_as_stored(
        self, client: RedisUsers, world: World
    ) -> None:
        for userid in world.userids:
            user = client.call(
                UserQuery.of(world.own_user(userid), world.published.manifest)
            ).user
            assert user.number == userid
            assert user.terms == world.user_terms[userid]
            assert user.seen.tolist() == world.seen[userid]
            assert user.profile.tolist() == world.profile(userid).tolist()
            for part in ("item_numbers", "ratings", "times"):
                np.testing.assert_array_equal(
                    getattr(user.history, part), getattr(world.histories[userid], part)
                )
            assert set(user.vectors) == set(world.stored_vectors[userid])
            for name, vector in world.stored_vectors[userid].items():
                np.testing.assert_array_equal(user.vectors[name], vector)

    def test_control_names_the_active_release(
        self, client: RedisUsers, world: World
    ) -> None:
        control = client.control()
        assert control.active == world.release
        assert world.release in control.published

    def test_a_users_id_is_that_user_alone(
        self, client: RedisUsers, world: World
    ) -> None:
        for userid in world.userids:
            for other in (
                f"{world.own_user(userid)} ",
                f"{world.own_user(userid)}*",
                f"x{world.own_user(userid)}",
            ):
                assert (
                    client.call(UserQuery.of(other, world.published.manifest)).user
                    is None
                )

    def test_unknown_user_and_deleted_release_are_distinct(
        self, client: RedisUsers, world: World
    ) -> None:
        unknown = client.call(UserQuery.of(UNKNOWN_USER, world.published.manifest))
        nowhere = client.call(UserQuery(1, NOWHERE, "nothing"))
        assert (unknown.user, unknown.published) == (None, True)
        assert (nowhere.user, nowhere.published) == (None, False)

    def test_published_releases(self, client: RedisUsers, world: World) -> None:
        assert read_published(client, world.release) == world.published
        assert read_published(client, NOWHERE) is None

    def test_the_channels_make_the_vectors_that_they_made_before(
        self, client: RedisUsers, world: World
    ) -> None:
        channels = read_channels(client, world.release)
        for userid in (1, BLANK_USER):
            made = channels.query_vectors(
                world.histories[userid], world.profile(userid), LATER
            )
            expected = world.channels.query_vectors(
                world.histories[userid], world.profile(userid), LATER
            )
            assert made.keys() == expected.keys()
            for name, vector in made.items():
                np.testing.assert_array_equal(vector, expected[name])

    def test_no_channels_at_all_is_an_error(self, client: RedisUsers) -> None:
        with pytest.raises(
            ServiceError, match=f"no recall channels of release {NOWHERE}"
        ):
            read_channels(client, NOWHERE)

    def test_some_users_come_by_the_text_of_their_ids(
        self, client: RedisUsers, world: World
    ) -> None:
        names = sorted(
            (str(world.own_user(userid)) for userid in world.userids), key=str.encode
        )
        assert client.some_users(world.release, 100) == names
        assert client.some_users(world.release, 3) == names[:3]
        with pytest.raises(
            StoredError, match=f"no list of the users of release {NOWHERE}"
        ):
            client.some_users(NOWHERE, 100)

    def test_activating_the_live_release_changes_nothing(
        self, client: RedisUsers, world: World
    ) -> None:
        live, before = client.listed()
        assert live == world.release == before[0]
        client.activate(world.release)
        assert client.listed() == (live, before)

    def test_a_deleted_release_cannot_be_activated(
        self, client: RedisUsers, world: World
    ) -> None:
        before = client.listed()
        with pytest.raises(StoredError, match=NOWHERE):
            client.activate(NOWHERE)
        assert client.listed() == before == (world.release, before[1])

    def test_the_popular_list(self, client: RedisUsers, world: World) -> None:
        assert read_popular(client, world.release) == world.popular
        assert read_popular(client, NOWHERE) == []


class SearchContract:
    """Contract of the clients that find candidates."""

    def _query(self, world: World, userid: int, **changes: Any) -> ItemQuery:
        facts = {
            "recall": world.recipe.recall,
            "vectors": world.user_vectors(userid),
            "terms": world.user_terms[userid],
            "seen": world.seen[userid],
        }
        return ItemQuery(world.release, **(facts | changes))

    def _truth(self, world: World, query: ItemQuery, n: int) -> dict[int, float]:
        """Scores of all unseen items by the n-th channel."""
        channel, scores = query.recall.channels[n], {}
        hybrid = channel.term_weight > 0 and bool(query.terms)
        for itemid in set(world.itemids) - set(np.asarray(query.seen).tolist()):
            score = (
                channel.term_weight * bool(set(query.terms) & set(world.genres[itemid]))
                if hybrid
                else 0.0
            )
            vector, itself = (
                query.vectors.get(channel.name),
                world.item_vectors[channel.name].get(itemid),
            )
            if vector is not None and itself is not None:
                product = float(itself @ vector)
                score += (
                    channel.vector_weight
                    * (product + 1 if product >= 0 else 1 / (1 - product))
                    if hybrid
                    else product
                )
            elif not hybrid:
                continue  # never trained: does not compete
            scores[itemid] = score
        return scores

    def _with(self, recall: RecallRecipe, **changes: Any) -> RecallRecipe:
        """The recipe with every channel changed."""
        return recall.model_copy(
            update={
                "channels": tuple(
                    channel.model_copy(update=changes) for channel in recall.channels
                )
            }
        )

    @pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER, NO_TERMS_USER, 8])
    @pytest.mark.parametrize(
        "weights",
        [{"vector_weight": 1.3}, {"term_weight": 0.7, "vector_weight": 1.3}, {}],
    )
    def test_channels_find_the_best(
        self, client: Searched, world: World, userid: int, weights: dict[str, float]
    ) -> None:
        # vectors and genres add up
        wide = world.recipe.recall.model_copy(update={"num_candidates": 1000})
        query = self._query(world, userid, recall=self._with(wide, **weights))
        answers = client.call(query)
        assert len(answers) == len(query.recall.channels)
        for n, hits in enumerate(answers):
            truth, found = self._truth(world, query, n), hits.ids.tolist()
            assert (
                len(found)
                == min(query.recall.candidates, len(truth))
                == len(set(found))
            )
            assert not set(found) & set(world.seen[userid])
            best = sorted(truth.values(), reverse=True)[: len(found)]
            np.testing.assert_allclose(hits.scores, best, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                hits.scores, [truth[itemid] for itemid in found], rtol=1e-4, atol=1e-5
            )

    def test_without_a_vector_only_the_genres_count(
        self, client: Searched, world: World
    ) -> None:
        recall = self._with(
            world.recipe.recall.model_copy(update={"candidates": 50}), term_weight=0.5
        )
        for hits in client.call(self._query(world, 1, vectors={}, recall=recall)):
            assert len(hits.ids) == (50 if world.user_terms[1] else 0)
            for itemid in hits.ids.tolist():
                assert set(world.genres[itemid]) & set(world.user_terms[1])

    def test_of_equal_scores_the_smaller_itemid_comes_first(
        self, client: Searched, world: World
    ) -> None:
        recall = self._with(
            world.recipe.recall.model_copy(update={"candidates": 20}), term_weight=0.5
        )
        terms = sorted({code for codes in world.genres.values() for code in codes})
        matching = sorted(itemid for itemid, codes in world.genres.items() if codes)
        for hits in client.call(
            self._query(world, 1, vectors={}, terms=terms, recall=recall, seen=())
        ):
            assert hits.ids.tolist() == matching[:20]

    def test_ties_keep_the_smaller_itemids(
        self, client: Searched, world: World
    ) -> None:
        """Also where the search by vector ends among them, as long as items are loaded in the order of itemids."""
        recall = self._with(
            world.recipe.recall.model_copy(
                update={"candidates": 20, "num_candidates": 20}
            )
        )
        nowhere = {
            name: np.zeros_like(vector)
            for name, vector in world.user_vectors(1).items()
        }
        found = client.call(
            self._query(world, 1, terms=(), vectors=nowhere, recall=recall, seen=())
        )
        for channel, hits in zip(recall.searched, found, strict=True):
            assert hits.ids.tolist() == sorted(world.item_vectors[channel.name])[:20]

    @pytest.mark.parametrize("nothing", ["vectors", "seen"])
    def test_where_nothing_is_left_nothing_is_found(
        self, client: Searched, world: World, nothing: str
    ) -> None:
        left: Any = {"seen": world.itemids}
        if nothing == "vectors":
            left = {"vectors": {}, "terms": ()}
        for hits in client.call(self._query(world, 1, **left)):
            assert hits.ids.tolist() == []

    def test_a_channel_without_a_query_leaves_the_others(
        self, client: Searched, world: World
    ) -> None:
        query, vectors = self._query(world, 1, terms=()), world.user_vectors(1)
        for n, channel in enumerate(query.recall.channels):
            others = {
                name: vector for name, vector in vectors.items() if name != channel.name
            }
            answers = client.call(self._query(world, 1, terms=(), vectors=others))
            whole = client.call(query)
            assert answers[n].ids.tolist() == []
            for m in set(range(len(answers))) - {n}:
                assert answers[m].ids.tolist() == whole[m].ids.tolist()

    @pytest.mark.parametrize("terms", [(), (1, 4)])
    def test_of_some_items_only_all_are_found(
        self, client: Searched, world: World, terms: tuple[int, ...]
    ) -> None:
        """Few of them are among a plain search's neighbours: the limit stands inside the search."""
        only = np.array(world.itemids[5::7], np.int64)
        query = self._query(world, 1, only=only, terms=terms, seen=world.seen[1])
        for n, hits in enumerate(client.call(query)):
            truth = self._truth(world, query, n)
            allowed = {
                itemid: score for itemid, score in truth.items() if itemid in only
            }
            assert set(hits.ids.tolist()) == allowed.keys()
            np.testing.assert_allclose(
                hits.scores,
                sorted(allowed.values(), reverse=True),
                rtol=1e-4,
                atol=1e-5,
            )
        for hits in client.call(self._query(world, 1, only=only[:0], terms=terms)):
            assert hits.ids.tolist() == []

    def test_more_ids_than_one_query_takes(
        self, client: Searched, world: World
    ) -> None:
        """Its limit is 65,536 terms."""
        others = np.arange(10**6, 10**6 + 70_000)
        plain = client.call(self._query(world, 1))
        among_many = client.call(
            self._query(world, 1, only=np.concatenate([np.sort(world.itemids), others]))
        )
        without_many = client.call(
            self._query(world, 1, seen=np.concatenate([world.seen[1], others]))
        )
        for hits, same, also in zip(plain, among_many, without_many, strict=True):
            assert hits.ids.tolist() == same.ids.tolist() == also.ids.tolist()


class ElasticItemsContract(SearchContract, ClientContract):
    def test_items_are_found_by_vectors_and_terms(
        self, client: ElasticItems, world: World
    ) -> None:
        channels = list(world.item_vectors)
        found = {
            item.number: item
            for item in read_indexed(client, world.release, world.itemids[1:], channels)
        }
        assert sorted(found) == sorted(world.itemids[1:])
        for itemid, item in found.items():
            assert item.terms == world.genres[itemid]
            assert set(item.vectors) == {
                name for name in channels if itemid in world.item_vectors[name]
            }
            for name, vector in item.vectors.items():
                np.testing.assert_array_equal(vector, world.item_vectors[name][itemid])
        with pytest.raises(GoneError):
            list(read_indexed(client, NOWHERE, world.itemids, channels))

    def test_searches_are_counted(self, client: ElasticItems, world: World) -> None:
        before = client.searches(world.release)
        client.call(self._query(world, 1))
        client.call(self._query(world, 8))
        assert client.searches(world.release) - before == 2 * len(
            world.recipe.recall.searched
        )
        with pytest.raises(GoneError):
            client.searches(NOWHERE)

    def test_the_catalogue(self, client: ElasticItems, world: World) -> None:
        catalogue = read_catalogue(client, world.release)
        assert catalogue == {itemid: world.shown(itemid) for itemid in world.itemids}

    def test_a_missing_release_has_its_own_error(
        self, client: ElasticItems, world: World
    ) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(ItemQuery(NOWHERE, world.recipe.recall, world.user_vectors(1)))
        assert raised.value.service == "elasticsearch"


class FeastFeaturesContract(ClientContract):
    def test_users_are_returned_raw_in_request_order(
        self, client: FeastFeatures, world: World
    ) -> None:
        rows = client.call(FeatureQuery("user", world.release, (8, 1)))
        assert rows.ids == (8, 1)
        assert rows.missing == {}
        assert set(rows.columns) == {
            "userid",
            *(feature.name for feature in world.spec.stored("user")),
        }
        for name, values in rows.columns.items():
            expected = (
                [8, 1]
                if name == "userid"
                else [world.user_features[userid][name] for userid in (8, 1)]
            )
            assert values == expected

    def test_items_come_back_raw(self, client: FeastFeatures, world: World) -> None:
        ids = world.itemids[:30]
        rows = client.call(FeatureQuery("item", world.release, ids))
        assert rows.ids == tuple(ids)
        for feature in world.spec.stored("item"):
            assert rows.columns[feature.name] == [
                world.item_features[itemid][feature.name] for itemid in ids
            ]

    def test_unstored_users_are_missing_and_never_zero(
        self, client: FeastFeatures, world: World
    ) -> None:
        rows = client.call(
            FeatureQuery("user", world.release, (1, NO_FEATURES_USER, 2))
        )
        assert rows.ids == (1, 2)
        assert set(rows.missing) == {NO_FEATURES_USER}
        assert set(rows.missing[NO_FEATURES_USER]) == {
            feature.name for feature in world.spec.stored("user")
        }
        assert all(
            len(values) == 2 and None not in values for values in rows.columns.values()
        )

    def test_a_missing_release_has_its_own_error(self, client: FeastFeatures) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(FeatureQuery("user", NOWHERE, (1,)))
        assert raised.value.service == "feast"


def random_inputs(world: World, n: int) -> ModelInputs:
    """A list of n candidates, with a history where the world's model reads one."""
    rng, sizes = np.random.default_rng(n), world.spec.sizes
    rows = rng.uniform(0, 1, (n, sizes.columns)).astype(np.float32)
    if not sizes.events:
        return ModelInputs(rows)
    return ModelInputs(
        rows, rng.uniform(0, 1, (1, sizes.events, len(HISTORY))).astype(np.float32)
    )


class TritonScoresContract(ClientContract):
    @pytest.mark.parametrize("n", [0, 1, 200, 256, 257, 700])
    def test_scores_are_the_models_for_any_number_of_rows(
        self, client: TritonScores, world: World, n: int
    ) -> None:
        inputs = random_inputs(world, n)
        scores = client.call(ScoreQuery(inputs, world.model_version, world.model))
        assert scores.shape == (n,)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, world.scores(inputs), atol=1e-5)

    @pytest.mark.parametrize("gone", [{"version": 4711}, {"model": "nowhere"}], ids=str)
    def test_a_missing_model_or_version_has_its_own_error(
        self, client: TritonScores, world: World, gone: dict[str, Any]
    ) -> None:
        there = ScoreQuery(random_inputs(world, 1), world.model_version, world.model)
        with pytest.raises(GoneError) as raised:
            client.call(replace(there, **gone))
        assert raised.value.service == "triton"
