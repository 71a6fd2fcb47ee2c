"""FeatureSpec: order, encoding, and no value invented for a missing one."""

import numpy as np
import pytest

from data_exchange_center.columns import Entity
from data_exchange_center.features import (
    NEVER,
    UNKNOWN,
    DenseFeature,
    ElapsedFeature,
    Encoded,
    FeatureSpec,
    HistoryFeature,
    InputSizes,
    MissingFeatureError,
    ModelInputs,
    OneHotFeature,
    one_hot,
)
from data_exchange_center.history import History
from offline.data.pairs import rated_pairs_spec

GENRES = ("Action", "Children's", "Film-Noir")
SLUGS = ("action", "childrens", "film_noir")
DAY = 86_400
PAIRS = rated_pairs_spec(
    users=[7, 3],
    items=[10, 30, 20],
    profile={"gender": ["M", "F", "M"], "age": [25, 1], "occupation": ["10", "4"]},
    genres=GENRES,
    window=10,
)
LISTS = FeatureSpec(
    one_hot=(
        one_hot("itemid", "item", [30, 10, 20]),
        one_hot("gender", "user", ["M", "F"]),
    ),
    multi_hot=(),
    dense=(DenseFeature(name="n_ratings", entity="user", scale=5, transform="log1p"),),
    genres=GENRES,
    candidate=("a_score", "fused_log_rank"),
    history=HistoryFeature(length=3),
)
# a moment of each side between what does not depend on time
TIMED = FeatureSpec(
    one_hot=(one_hot("userid", "user", [7, 8]), one_hot("itemid", "item", [10, 20])),
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


def users(**changes: object) -> dict[str, object]:
    frame: dict[str, object] = {
        "userid": [3, 7],
        "gender": ["F", "M"],
        "age": [1, 25],
        "occupation": ["4", "10"],
    }
    for genre in SLUGS:
        frame |= {f"imp_{genre}": [2, 10], f"click_{genre}": [0, 5]}
    return frame | changes


def items(**changes: object) -> dict[str, object]:
    flags = np.eye(3, dtype=int)
    frame = {f"genre_{genre}": flags[n].tolist() for n, genre in enumerate(SLUGS)}
    return {"itemid": [10, 99, 30], **frame, **changes}


def timed_users(*first_events: int) -> Encoded:
    n = len(first_events)
    columns = {"userid": [7, 8][:n], "n_ratings": [5, 0][:n]}
    return TIMED.encode("user", columns | {"first_event": list(first_events)})


def timed_items(*first_events: int) -> Encoded:
    columns = {"itemid": [10, 20], "item_first_event": list(first_events)}
    return TIMED.encode("item", columns)


def events_of(*rows: tuple[int, int, int]) -> History:
    return History(*np.array(rows).T)


def test_both_sides_stand_in_the_models_order_one_hot_multi_hot_dense() -> None:
    assert PAIRS.columns == (
        *("userid", "itemid", "gender", "age", "occupation"),
        *(f"{kind}_{name}" for kind in ("genre", "imp", "click") for name in SLUGS),
    )
    found = PAIRS.encode("item", items())
    rows = PAIRS.assemble(PAIRS.encode("user", users())[:1], found, 0)
    by_name = dict(zip(PAIRS.columns, rows.T.tolist(), strict=True))
    expected = {
        "userid": [1, 1, 1],
        "itemid": [1, UNKNOWN, 3],
        "gender": [1, 1, 1],
        "genre_childrens": [0, 1, 0],
        "imp_action": pytest.approx([0.2, 0.2, 0.2]),
        "click_action": [0, 0, 0],
    }
    assert {name: by_name[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("spec", "entity", "frame", "said"),
    [
        (PAIRS, "user", users(gender=["F", None]), r"gender.* first at \[1\]"),
        (PAIRS, "user", users(age=[None, 25]), r"age.* first at \[0\]"),
        (PAIRS, "user", users(age=[1.0, float("nan")]), r"age.* first at \[1\]"),
        (PAIRS, "user", users(click_action=[0, None]), r"click_action.* at \[1\]"),
        (PAIRS, "item", items(genre_film_noir=[0, None, 1]), "genre_film_noir"),
        (TIMED, "item", {"itemid": [10], "item_first_event": [None]}, "first_event"),
    ],
)
def test_a_null_is_an_error_that_names_column_and_row(
    spec: FeatureSpec, entity: Entity, frame: dict[str, object], said: str
) -> None:
    with pytest.raises(MissingFeatureError, match=said):
        spec.encode(entity, frame)


def test_a_row_holds_what_each_side_gave_and_the_history_is_apart() -> None:
    """Candidate columns stand last."""
    names = ("itemid", "gender", "n_ratings", "a_score", "fused_log_rank")
    assert (LISTS.columns, LISTS.width, LISTS.sizes) == (
        names,
        5,
        InputSizes(columns=5, events=3),
    )
    stored = [feature.name for feature in LISTS.stored("user")]
    assert (stored, LISTS.stored("item")) == (["gender", "n_ratings"], ())
    known = LISTS.encode("user", {"gender": ["F"], "n_ratings": [9]})
    found = LISTS.encode("item", {"itemid": [20, 7]})
    given = np.array([[1.5, 0, 0.25], [2.5, 0, 0.5]], dtype=np.float32)
    candidates = LISTS.encode_candidates(("a_score", "other", "fused_log_rank"), given)
    rows = LISTS.assemble(known, found, 100, candidates)
    log = np.float32(np.log(10) / 5)
    assert rows.tolist() == [[2, 1, log, 1.5, 0.25], [0, 1, log, 2.5, 0.5]]
    # item 7 is unknown: padding; nobody has a negative age
    past = events_of((10, 4, 90), (7, 2, 50), (20, 3, 101))
    history = LISTS.encode_history(past, 100)
    assert history is not None
    assert history.tolist() == [[[1, 4, 10], [0, 0, 0], [2, 3, 0]]]
    inputs = ModelInputs(rows, history).by_name
    shapes = {name: values.shape for name, values in inputs.items()}
    assert shapes == {"ml_input": (2, 5), "ml_history": (1, 3, 3)}


def test_given_columns_are_required_by_the_spec_or_refused() -> None:
    one = np.ones((3, 1), np.float32)
    assert PAIRS.encode_candidates(("x",), one).shape == (3, 0)
    with pytest.raises(ValueError, match=r"fusion gives no columns \['a_score'\]"):
        LISTS.encode_candidates(("fused_log_rank",), one)
    user, item = (Encoded.none(LISTS.of(entity), 1) for entity in ("user", "item"))
    for shape in ((1, 0), (1, 1), (1, 3), (1, 1, 3)):
        with pytest.raises(ValueError, match=f"{shape[-1]} candidate columns are"):
            LISTS.assemble(user, item, 0, np.zeros(shape, np.float32))


def test_a_moment_becomes_the_days_to_each_request() -> None:
    known, found = timed_users(0, 3 * DAY), timed_items(DAY, NEVER)
    rows = TIMED.assemble(known, found, np.array([10 * DAY, DAY]))
    first = TIMED.assemble(known[:1], found[:1], 10 * DAY)
    assert first.tolist() == rows[:1].tolist()
    by_name = dict(zip(TIMED.columns, rows.T, strict=True))
    # a moment after the request, and never: 0 days
    assert by_name["first_event"] == pytest.approx([1.0, 0.0])
    assert by_name["n_ratings"] == pytest.approx([1, 0])
    assert by_name["item_first_event"] == pytest.approx([np.log1p(9) / 2, 0.0])


def test_many_lists_have_a_time_each() -> None:
    found = timed_items(0, 0)[np.array([[0, 1, 1], [1, 0, 0]])]
    times = np.array([[10 * DAY], [20 * DAY]])
    rows = TIMED.assemble(timed_users(0, 0)[:, None], found, times)
    days = rows[:, :, TIMED.columns.index("first_event")]
    assert days.tolist() == [[1.0] * 3, [2.0] * 3]
    assert rows[:, :, 1].tolist() == [[1, 2, 2], [2, 1, 1]]


def test_elapsed_features_are_exact_to_the_second() -> None:
    """Seconds since 1970 do not fit a float32."""
    moment = 1_700_000_001
    at = timed_users(moment).at(np.array([moment + DAY, moment + 2 * DAY]))
    assert at.dtype == np.float32
    assert at[:, 1].tolist() == [np.float32(0.1), np.float32(0.2)]


def test_padding_is_zero_at_any_time() -> None:
    assert not Encoded.none(TIMED.of("item"), 3).at(10**9).any()
    assert len(Encoded.none(TIMED.of("item"))) == 0


def test_a_vocabulary_of_digits_stays_text_when_read_back() -> None:
    feature = one_hot("occupation", "user", np.array(["9", "10", "9"]))
    assert feature.vocabulary == ("10", "9")
    ages = one_hot("age", "user", np.array([25, 1])).vocabulary
    assert [type(each) for each in ages] == [int, int]
    again = OneHotFeature.model_validate(feature.model_dump(mode="json"))
    assert (again, again.dtype) == (feature, "string")
    assert again.encode(["9", "10"]).tolist() == [2, 1]
