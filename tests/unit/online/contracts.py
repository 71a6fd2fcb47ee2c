"""Contract of each client: one class a client, run against its fake and against the real service.

A subclass gives the fixture ``client``, loaded with ``world``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import HISTORY, ModelInputs
from data_exchange_center.fusion import NO_HITS, Hits
from online.clients.base import GoneError, ServiceError, StoredError
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


class RedisUsersContract:
    def test_a_user_comes_back_as_stored(
        self, client: RedisUsers, world: World
    ) -> None:
        for userid in world.userids:
            query = UserQuery.of(world.own_user(userid), world.published.manifest)
            user = client.call(query).user
            assert user.fields() == world.stored(userid).fields()

    def test_a_users_id_is_that_user_alone(
        self, client: RedisUsers, world: World
    ) -> None:
        for userid in world.userids:
            own = world.own_user(userid)
            for other in (f"{own} ", f"{own}*", f"x{own}"):
                query = UserQuery.of(other, world.published.manifest)
                assert client.call(query).user is None

    def test_unknown_user_and_deleted_release_are_distinct(
        self, client: RedisUsers, world: World
    ) -> None:
        unknown = client.call(UserQuery.of(UNKNOWN_USER, world.published.manifest))
        nowhere = client.call(UserQuery(1, NOWHERE, "nothing"))
        assert (unknown.user, unknown.published) == (None, True)
        assert (nowhere.user, nowhere.published) == (None, False)

    def test_a_release_comes_back_and_nothing_of_another(
        self, client: RedisUsers, world: World
    ) -> None:
        assert read_published(client, world.release) == world.published
        assert read_published(client, NOWHERE) is None
        assert read_popular(client, world.release) == world.popular
        assert read_popular(client, NOWHERE) == []
        channels = read_channels(client, world.release)
        for userid in (1, BLANK_USER):
            state = world.histories[userid], world.profile(userid), LATER
            made, expected = (
                each.query_vectors(*state) for each in (channels, world.channels)
            )
            assert made.keys() == expected.keys()
            for name, vector in made.items():
                np.testing.assert_array_equal(vector, expected[name])
        with pytest.raises(ServiceError, match=f"no recall channels.*{NOWHERE}"):
            read_channels(client, NOWHERE)

    def test_some_users_come_by_the_text_of_their_ids(
        self, client: RedisUsers, world: World
    ) -> None:
        names = sorted(map(str, world.numbers), key=str.encode)
        assert client.some_users(world.release, 100) == names
        assert client.some_users(world.release, 3) == names[:3]
        with pytest.raises(StoredError, match=f"no list of the users.*{NOWHERE}"):
            client.some_users(NOWHERE, 100)

    def test_only_a_published_release_can_be_activated(
        self, client: RedisUsers, world: World
    ) -> None:
        before = client.listed()
        assert before[0] == before[1][0] == world.release
        client.activate(world.release)
        assert client.listed() == before
        with pytest.raises(StoredError, match=NOWHERE):
            client.activate(NOWHERE)
        assert client.listed() == before
        control = client.control()
        assert (control.active, control.published) == before


def query(
    world: World,
    userid: int = 1,
    weights: dict[str, float] | None = None,
    recall: dict[str, Any] | None = None,
    **changes: Any,
) -> ItemQuery:
    """A user's search. ``weights``: of all channels; ``recall``: other changes of the recipe."""
    recipe = world.recipe.recall
    channels = [each.model_copy(update=weights or {}) for each in recipe.channels]
    recipe = recipe.model_copy(update={"channels": tuple(channels), **(recall or {})})
    facts = {
        "recall": recipe,
        "vectors": world.user_vectors(userid),
        "terms": world.user_terms[userid],
        "seen": world.seen[userid],
    }
    return ItemQuery(world.release, **(facts | changes))


def check_best(
    world: World, searched: ItemQuery, answers: Mapping[str, Hits], seen: Any
) -> None:
    """The answers are the best items but ``seen``, with their scores."""
    assert len(answers) == len(searched.recall.channels)
    for channel in searched.recall.vector_channels:
        hits = answers[channel.name]
        vector = searched.vectors.get(channel.name)
        every = world.search(
            channel, vector, searched.terms, seen, size=len(world.itemids)
        )
        scores = dict(zip(every.ids.tolist(), every.scores.tolist(), strict=True))
        found = hits.ids.tolist()
        size = min(searched.recall.candidates, len(scores))
        assert len(found) == len(set(found)) == size
        expected = [scores[itemid] for itemid in found]
        near: Any = {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(hits.scores, expected, **near)
        np.testing.assert_allclose(hits.scores, every.scores[:size], **near)


class SearchContract:
    """Contract of the clients that find candidates."""

    @pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER, NO_TERMS_USER, 8])
    @pytest.mark.parametrize(
        "weights",
        [{"vector_weight": 1.3}, {"term_weight": 0.7, "vector_weight": 1.3}, {}],
    )
    def test_channels_find_the_best(
        self, client: Searched, world: World, userid: int, weights: dict[str, float]
    ) -> None:
        # vectors and genres add up
        whole = query(world, userid, weights, {"num_candidates": 1000})
        check_best(world, whole, client.call(whole), whole.seen)

    def test_without_a_vector_only_the_genres_count(
        self, client: Searched, world: World
    ) -> None:
        terms = world.user_terms[1]
        some = query(world, 1, {"term_weight": 0.5}, {"candidates": 50}, vectors={})
        for hits in client.call(some).values():
            assert len(hits.ids) == (50 if terms else 0)
            for itemid in hits.ids.tolist():
                assert set(world.genres[itemid]) & set(terms)

    def test_of_equal_scores_the_smaller_itemid_comes_first(
        self, client: Searched, world: World
    ) -> None:
        """Also where a search by vector ends among them, as long as items are loaded in the order of itemids."""
        terms = sorted({code for codes in world.genres.values() for code in codes})
        matching = sorted(itemid for itemid, codes in world.genres.items() if codes)
        few = {"candidates": 20, "num_candidates": 20}
        weights, every = {"term_weight": 0.5}, {"seen": (), "terms": terms}
        matched = client.call(query(world, 1, weights, few, vectors={}, **every))
        for hits in matched.values():
            assert hits.ids.tolist() == matching[:20]
        vectors = world.user_vectors(1)
        zeros = {name: np.zeros_like(vector) for name, vector in vectors.items()}
        nowhere = query(world, 1, None, few, terms=(), vectors=zeros, seen=())
        found = client.call(nowhere)
        for channel in nowhere.recall.vector_channels:
            first = sorted(world.item_vectors[channel.name])[:20]
            assert found[channel.name].ids.tolist() == first

    def test_where_nothing_is_left_nothing_is_found(
        self, client: Searched, world: World
    ) -> None:
        unasked: Any = {"vectors": {}, "terms": ()}
        for left in ({"seen": world.itemids}, unasked):
            for hits in client.call(query(world, **left)).values():
                assert hits.ids.tolist() == []

    def test_a_channel_without_a_query_leaves_the_others(
        self, client: Searched, world: World
    ) -> None:
        whole = client.call(query(world, terms=()))
        for channel in world.recipe.recall.channels:
            others = world.user_vectors(1)
            others.pop(channel.name)
            answers = client.call(query(world, terms=(), vectors=others))
            for name, hits in (whole | {channel.name: NO_HITS}).items():
                found = answers.get(name, NO_HITS)
                assert found.ids.tolist() == hits.ids.tolist()

    @pytest.mark.parametrize("terms", [(), (1, 4)])
    def test_of_some_items_only_all_are_found(
        self, client: Searched, world: World, terms: tuple[int, ...]
    ) -> None:
        """Few of them are among a plain search's neighbours: the limit stands inside the search."""
        only = np.array(world.itemids[5::7], np.int64)
        some = query(world, only=only, terms=terms)
        others = set(world.itemids).difference(only.tolist())
        check_best(world, some, client.call(some), [*world.seen[1], *others])
        for hits in client.call(query(world, only=only[:0], terms=terms)).values():
            assert hits.ids.tolist() == []

    def test_more_ids_than_one_query_takes(
        self, client: Searched, world: World
    ) -> None:
        """Its limit is 65,536 terms."""
        others = np.arange(10**6, 10**6 + 70_000)
        many = {
            "only": np.concatenate([np.sort(world.itemids), others]),
            "seen": np.concatenate([world.seen[1], others]),
        }
        plain = client.call(query(world))
        for name, ids in many.items():
            found = client.call(query(world, **{name: ids}))
            for channel, hits in plain.items():
                assert hits.ids.tolist() == found[channel].ids.tolist()


class ElasticItemsContract(SearchContract):
    def test_items_are_found_by_vectors_and_terms(
        self, client: ElasticItems, world: World
    ) -> None:
        channels, wanted = list(world.item_vectors), world.itemids[1:]
        items = list(read_indexed(client, world.release, wanted, channels))
        assert sorted(item.number for item in items) == sorted(wanted)
        for item in items:
            assert item.terms == world.genres[item.number]
            for name, vectors in world.item_vectors.items():
                expected = vectors.get(item.number)
                np.testing.assert_array_equal(item.vectors.get(name), expected)
        with pytest.raises(GoneError):
            list(read_indexed(client, NOWHERE, wanted, channels))

    def test_searches_are_counted(self, client: ElasticItems, world: World) -> None:
        before = client.searches(world.release)
        for userid in (1, 8):
            client.call(query(world, userid))
        counted = client.searches(world.release) - before
        assert counted == 2 * len(world.recipe.recall.vector_channels)
        with pytest.raises(GoneError):
            client.searches(NOWHERE)

    def test_the_catalogue(self, client: ElasticItems, world: World) -> None:
        catalogue = read_catalogue(client, world.release)
        assert catalogue == {itemid: world.shown(itemid) for itemid in world.itemids}

    def test_a_missing_release_has_its_own_error(
        self, client: ElasticItems, world: World
    ) -> None:
        with pytest.raises(GoneError) as raised:
            client.call(replace(query(world), release=NOWHERE))
        assert raised.value.service == "elasticsearch"


class FeastFeaturesContract:
    @pytest.mark.parametrize("entity", ["user", "item"])
    def test_values_come_back_raw_in_the_order_of_the_request(
        self, client: FeastFeatures, world: World, entity: Any
    ) -> None:
        is_user = entity == "user"
        stored = world.user_features if is_user else world.item_features
        ids = (8, 1) if is_user else tuple(world.itemids[29::-1])
        rows = client.call(FeatureQuery(entity, world.release, ids))
        assert (rows.ids, rows.missing) == (ids, {})
        assert rows.columns == {
            f"{entity}id": list(ids),
            **{
                feature.name: [stored[each][feature.name] for each in ids]
                for feature in world.spec.stored(entity)
            },
        }

    def test_unstored_users_are_missing_and_never_zero(
        self, client: FeastFeatures, world: World
    ) -> None:
        asked = (1, NO_FEATURES_USER, 2)
        rows = client.call(FeatureQuery("user", world.release, asked))
        assert rows.ids == (1, 2)
        assert {each: {*names} for each, names in rows.missing.items()} == {
            NO_FEATURES_USER: {each.name for each in world.spec.stored("user")}
        }
        for values in rows.columns.values():
            assert len(values) == 2
            assert None not in values

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
    history = rng.uniform(0, 1, (1, sizes.events, len(HISTORY)))
    return ModelInputs(rows, history.astype(np.float32))


class TritonScoresContract:
    @pytest.mark.parametrize("n", [0, 1, 200, 256, 257, 700])
    def test_scores_are_the_models_for_any_number_of_rows(
        self, client: TritonScores, world: World, n: int
    ) -> None:
        inputs = random_inputs(world, n)
        scores = client.call(ScoreQuery(inputs, world.model_version, world.model))
        assert (scores.shape, scores.dtype) == ((n,), np.float32)
        np.testing.assert_allclose(scores, world.scores(inputs), atol=1e-5)

    @pytest.mark.parametrize("gone", [{"version": 4711}, {"model": "nowhere"}], ids=str)
    def test_a_missing_model_or_version_has_its_own_error(
        self, client: TritonScores, world: World, gone: dict[str, Any]
    ) -> None:
        there = ScoreQuery(random_inputs(world, 1), world.model_version, world.model)
        with pytest.raises(GoneError) as raised:
            client.call(replace(there, **gone))
        assert raised.value.service == "triton"
