"""FeatureSpec: order, encoding, and no value invented for a missing one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.features import (
    NEVER,
    UNKNOWN,
    DenseFeature,
    ElapsedFeature,
    Encoded,
    FeatureSpec,
    HistoryFeature,
    MissingFeatureError,
    ModelInputs,
    OneHotFeature,
    one_hot,
)
from data_exchange_center.history import History
from offline.data.pairs import rated_pairs_spec

GENRES = ("Action", "Children's", "Film-Noir")


@pytest.fixture
def spec() -> FeatureSpec:
    return rated_pairs_spec(
        users=[7, 3],
        items=[10, 30, 20],
        profile={"gender": ["M", "F", "M"], "age": [25, 1], "occupation": ["10", "4"]},
        genres=GENRES,
        window=10,
    )


def users(**changes: object) -> dict[str, object]:
    frame: dict[str, object] = {
        "userid": [3, 7],
        "gender": ["F", "M"],
        "age": [1, 25],
        "occupation": ["4", "10"],
    }
    for genre in ("action", "childrens", "film_noir"):
        frame |= {f"imp_{genre}": [2, 10], f"click_{genre}": [0, 5]}
    return frame | changes


def items(**changes: object) -> dict[str, object]:
    frame: dict[str, object] = {"itemid": [10, 99, 30]}
    frame |= {
        "genre_action": [1, 0, 0],
        "genre_childrens": [0, 1, 0],
        "genre_film_noir": [0, 0, 1],
    }
    return frame | changes


def test_columns_stand_one_hot_multi_hot_dense(spec: FeatureSpec) -> None:
    names = ("action", "childrens", "film_noir")
    assert spec.columns == (
        *("userid", "itemid", "gender", "age", "occupation"),
        *(f"{kind}_{name}" for kind in ("genre", "imp", "click") for name in names),
    )


def test_assemble_puts_both_sides_into_the_models_order(spec: FeatureSpec) -> None:
    rows = spec.assemble(
        spec.encode("user", users())[:1], spec.encode("item", items()), 0
    )
    by_name = dict(zip(spec.columns, rows.T.tolist(), strict=True))
    assert rows.dtype == spec.encode("item", items()).values.dtype == np.float32
    assert rows.shape == (3, spec.width)
    assert by_name["userid"] == [1, 1, 1]
    assert by_name["itemid"] == [1, UNKNOWN, 3]
    assert by_name["gender"] == [1, 1, 1]
    assert by_name["genre_childrens"] == [0, 1, 0]
    assert by_name["imp_action"] == pytest.approx([0.2, 0.2, 0.2])
    assert by_name["click_action"] == [0, 0, 0]
    inputs = ModelInputs(rows, spec.encode_history(History.empty(), 0))
    assert (list(inputs.by_name), spec.sizes) == (["ml_input"], (spec.width, 0))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("gender", ["F", None]),
        ("age", [None, 25]),
        ("age", [1.0, float("nan")]),
        ("click_action", [0, None]),
    ],
)
def test_a_null_is_an_error_that_names_column_and_row(
    spec: FeatureSpec, column: str, values: list[object]
) -> None:
    row = int(values[0] is not None)
    with pytest.raises(MissingFeatureError, match=rf"{column}.* first at \[{row}\]"):
        spec.encode("user", users(**{column: values}))
    with pytest.raises(MissingFeatureError, match="genre_film_noir"):
        spec.encode("item", items(genre_film_noir=[0, None, 1]))
    with pytest.raises(MissingFeatureError, match="first_event"):
        ElapsedFeature(name="first_event", entity="user", scale=1).encode([None])


def ranker_spec() -> FeatureSpec:
    return FeatureSpec(
        one_hot=(
            one_hot("itemid", "item", [30, 10, 20]),
            one_hot("gender", "user", ["M", "F"]),
        ),
        multi_hot=(),
        dense=(
            DenseFeature(name="n_ratings", entity="user", scale=5, transform="log1p"),
        ),
        genres=GENRES,
        candidate=("a_score", "fused_log_rank"),
        history=HistoryFeature(length=3),
    )


def test_candidate_columns_stand_last() -> None:
    spec = ranker_spec()
    assert spec.columns == (
        "itemid",
        "gender",
        "n_ratings",
        "a_score",
        "fused_log_rank",
    )
    assert (spec.width, spec.sizes) == (5, (5, 3))
    assert [feature.name for feature in spec.stored("user")] == ["gender", "n_ratings"]
    assert spec.stored("item") == ()
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_row_holds_what_each_side_gave_and_the_history_is_apart() -> None:
    spec = ranker_spec()
    users = spec.encode("user", {"gender": ["F"], "n_ratings": [9]})
    items = spec.encode("item", {"itemid": [20, 7]})
    given = np.array([[1.5, 0, 0.25], [2.5, 0, 0.5]], dtype=np.float32)
    candidates = spec.encode_candidates(("a_score", "other", "fused_log_rank"), given)
    rows = spec.assemble(users, items, 100, candidates)
    log = np.float32(np.log(10) / 5)
    assert rows.tolist() == [[2, 1, log, 1.5, 0.25], [0, 1, log, 2.5, 0.5]]
    past = History(np.array([10, 7]), np.array([4, 2]), np.array([90, 50]))
    history = spec.encode_history(past, 100)
    assert history is not None
    # item 7 is unknown: padding
    assert history.tolist() == [[[1, 4, 10], [0, 0, 0], [0, 0, 0]]]
    shapes = {
        name: values.shape
        for name, values in ModelInputs(rows, history).by_name.items()
    }
    assert shapes == {"ml_input": (2, 5), "ml_history": (1, 3, 3)}


def test_nobody_has_a_negative_age() -> None:
    past = History(np.array([10, 20]), np.array([5, 3]), np.array([100, 40]))
    encoded = ranker_spec().encode_history(past, 60)
    assert encoded is not None
    assert encoded[0, :, 2].tolist() == [0, 20, 0]


@pytest.mark.parametrize("given", [0, 2, 3, 5])
def test_the_newest_events_are_kept_and_few_are_padded(given: int) -> None:
    codes, ratings, ages = (
        np.arange(first, first + 2 * given).reshape(2, given) for first in (1, 20, 40)
    )
    encoded = ranker_spec().encode_events(codes, ratings, ages)
    assert encoded is not None
    assert encoded.shape == (2, 3, 3)
    for channel, values in enumerate((codes, ratings, ages)):
        assert np.array_equal(encoded[:, :given, channel], values[:, :3])
    assert not encoded[:, given:].any()


def test_given_columns_are_required_by_the_spec_or_refused(spec: FeatureSpec) -> None:
    assert spec.encode_candidates(("x",), np.ones((3, 1), np.float32)).shape == (3, 0)
    with pytest.raises(ValueError, match=r"fusion gives no columns \['a_score'\]"):
        ranker_spec().encode_candidates(
            ("fused_log_rank",), np.ones((1, 1), np.float32)
        )
    user, item = (
        Encoded.none(ranker_spec().of(entity), 1) for entity in ("user", "item")
    )
    with pytest.raises(ValueError, match="0 candidate columns are given"):
        ranker_spec().assemble(user, item, 0)
    for shape in ((1, 1), (1, 3), (1, 1, 3)):
        with pytest.raises(
            ValueError, match=f"{shape[-1]} candidate columns are given"
        ):
            ranker_spec().assemble(user, item, 0, np.zeros(shape, np.float32))


DAY = 86_400


def timed_spec() -> FeatureSpec:
    """A moment of each side between what does not depend on time."""
    return FeatureSpec(
        one_hot=(
            one_hot("userid", "user", [7, 8]),
            one_hot("itemid", "item", [10, 20]),
        ),
        multi_hot=(),
        dense=(
            ElapsedFeature(name="first_event", entity="user", scale=10),
            DenseFeature(name="n_ratings", entity="user", scale=5),
            ElapsedFeature(
                name="item_first_event", entity="item", scale=2, transform="log1p"
            ),
        ),
        genres=GENRES,
    )


def test_a_moment_becomes_the_days_to_each_request() -> None:
    spec = timed_spec()
    known = spec.encode(
        "user", {"userid": [7, 8], "first_event": [0, 3 * DAY], "n_ratings": [5, 0]}
    )
    found = spec.encode("item", {"itemid": [10, 20], "item_first_event": [DAY, NEVER]})
    rows = spec.assemble(known, found, np.array([10 * DAY, DAY]))
    assert spec.assemble(known[:1], found[:1], 10 * DAY).tolist() == rows[:1].tolist()
    by_name = dict(zip(spec.columns, rows.T, strict=True))
    # a moment after the request: 0 days
    assert by_name["first_event"] == pytest.approx([1.0, 0.0])
    assert by_name["n_ratings"] == pytest.approx([1, 0])
    # never: 0 days
    assert by_name["item_first_event"] == pytest.approx([np.log1p(9) / 2, 0.0])


def test_many_lists_have_a_time_each() -> None:
    spec = FeatureSpec(**{**dict(timed_spec()), "candidate": ("a_score",)})
    known = spec.encode(
        "user", {"userid": [7, 8], "first_event": [0, 0], "n_ratings": [5, 0]}
    )[:, None]
    found = spec.encode("item", {"itemid": [10, 20], "item_first_event": [0, 0]})[
        np.array([[0, 1, 1], [1, 0, 0]])
    ]
    scores = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    rows = spec.assemble(known, found, np.array([[10 * DAY], [20 * DAY]]), scores)
    assert np.array_equal(rows[..., len(spec.features) :], scores)
    assert rows.shape == (2, 3, spec.width)
    assert rows[:, :, spec.columns.index("first_event")].tolist() == [
        [1.0] * 3,
        [2.0] * 3,
    ]
    assert rows[:, :, 1].tolist() == [[1, 2, 2], [2, 1, 1]]


def test_elapsed_features_are_exact_to_the_second() -> None:
    """Seconds since 1970 do not fit a float32."""
    spec = timed_spec()
    moment = 1_700_000_001
    known = spec.encode(
        "user", {"userid": [7], "first_event": [moment], "n_ratings": [0]}
    )
    at = known.at(np.array([moment + DAY, moment + 2 * DAY]))
    assert at.dtype == np.float32
    assert at[:, 1].tolist() == [np.float32(0.1), np.float32(0.2)]


def test_padding_is_zero_at_any_time() -> None:
    spec = timed_spec()
    assert not Encoded.none(spec.of("item"), 3).at(10**9).any()
    assert len(Encoded.none(spec.of("item"))) == 0
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec


@given(
    vocabulary=st.sets(st.integers(-1000, 1000), min_size=1),
    values=st.lists(st.integers(-1100, 1100), min_size=1),
)
def test_one_hot_codes_are_positions_in_the_sorted_vocabulary(
    vocabulary: set[int], values: list[int]
) -> None:
    known = sorted(vocabulary)
    feature = OneHotFeature(name="x", entity="user", vocabulary=tuple(known))
    expected = [
        known.index(value) + 1 if value in vocabulary else UNKNOWN for value in values
    ]
    assert feature.encode(values).tolist() == expected
    assert (feature.encode(values).dtype, feature.cardinality) == (
        np.float32,
        len(known) + 1,
    )


def test_a_vocabulary_of_digits_stays_text_when_read_back() -> None:
    feature = one_hot("occupation", "user", np.array(["9", "10", "9"]))
    assert feature == OneHotFeature(
        name="occupation", entity="user", vocabulary=("10", "9")
    )
    assert [
        type(each) for each in one_hot("age", "user", np.array([25, 1])).vocabulary
    ] == [int, int]
    again = OneHotFeature.model_validate(feature.model_dump(mode="json"))
    assert (again, again.dtype, again.encode(["9", "10"]).tolist()) == (
        feature,
        "string",
        [2, 1],
    )
