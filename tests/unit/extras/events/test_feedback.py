from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.event_parts import Entry, EventParts
from offline import movielens
from offline.feedback import Merged, merge
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs, read_with_holdout, recorded_rows
from tests.datasets import Tables, tables_of
from tests.made_up_data import shop
from tests.unit.offline.synthetic import made_up_movielens

NOW = 2_000_000_000


def join(data: Tables, events: pd.DataFrame) -> tuple[Tables, Merged]:
    """The data set with the events in it, and what became of them."""
    merged = merge(*data, events)
    return data._replace(ratings=merged.ratings, users=merged.users), merged


@pytest.fixture
def films(tmp_path: Path) -> Tables:
    return tables_of(made_up_movielens(tmp_path / "ml"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=made_up_movielens(tmp_path / "ml"), exchange_dir=tmp_path / "exchange"
    )


def first_item(settings: Settings) -> int:
    return tables_of(settings.data).items[Columns.ITEM].tolist()[0]  # type: ignore[arg-type]


def reported(folder: Path, *events: Event | OwnId) -> pd.DataFrame:
    """Events in the order of the log; an id alone: the user was forgotten."""
    entries = [
        Entry((number, 0), each.userid, each)
        if isinstance(each, Event)
        else Entry((number, 0), each, None)
        for number, each in enumerate(events, start=1)
    ]
    EventParts(folder).append(0, entries)
    return EventParts(folder).read()


def event(
    number: int,
    user: OwnId,
    item: OwnId,
    kind: str = "rating",
    value: float | None = 5.0,
) -> Event:
    return Event(f"e{number}", user, item, kind, NOW + number, value)


def rows_of(data: Tables, user: OwnId) -> list[tuple[int, int, int]]:
    number = data.users.loc[
        data.users[Columns.OWN_ID] == str(user), Columns.USER
    ].item()
    rows = data.ratings[data.ratings[Columns.USER] == number]
    return list(
        zip(
            rows[Columns.ITEM],
            rows[Columns.RATING],
            rows[Columns.TIMESTAMP],
            strict=True,
        )
    )


def served(
    data: Tables, user: OwnId, events: Sequence[Event]
) -> list[tuple[int, int, int]]:
    """The history that a server has of a user whose state is made of ``data``, oldest event first."""
    columns = [
        np.array(column, np.int64)[::-1]
        for column in zip(*rows_of(data, user), strict=True)
    ]
    logged = [
        Logged(each.timestamp, (place, 0), each) for place, each in enumerate(events)
    ]
    kind = int if data.dataset.item_ids == "integer" else str
    items = {
        kind(own): number
        for own, number in zip(
            data.items[Columns.OWN_ID], data.items[Columns.ITEM], strict=True
        )
    }
    now, _ = updated(
        History(*columns), np.empty(0, np.int32), logged, items, data.dataset
    )
    return list(
        zip(now.item_numbers[::-1], now.ratings[::-1], now.times[::-1], strict=True)
    )


def test_a_user_has_the_history_that_a_server_answers_from(
    films: Tables, tmp_path: Path
) -> None:
    item, other, third = films.items[Columns.ITEM].tolist()[:3]
    rated = rows_of(films, 300)[0][0]
    events = [
        event(5, 300, item),
        event(3, 300, other, value=2.0),
        event(4, 300, rated, value=1.0),
        event(6, 300, third),
        event(7, 300, third, "undo", None),
        event(8, 300, other, "hide", None),
    ]
    joined, merged = join(films, reported(tmp_path, *events))
    assert rows_of(joined, 300) == served(films, 300, events)
    assert rows_of(joined, 300)[-1] == (item, 5, NOW + 5)
    assert third not in {row[0] for row in rows_of(joined, 300)[-3:]}
    others = joined.ratings[joined.ratings[Columns.USER] != 300].reset_index(drop=True)
    assert others.equals(
        films.ratings[films.ratings[Columns.USER] != 300].reset_index(drop=True)
    )
    assert joined.ratings.dtypes.equals(films.ratings.dtypes)
    assert (merged.rated, merged.changed) == (4, True)


def test_events_of_a_data_set_with_ids_of_its_own(tmp_path: Path) -> None:
    """String ids, no values: an event is one more."""
    data = tables_of(shop(tmp_path / "shop"))
    (user, *_), (item, *_) = data.users[Columns.OWN_ID], data.items[Columns.OWN_ID]
    events = [
        event(1, user, item, "click", None),
        event(2, user, item, "click", None),
        event(3, "Zoë", item, "click"),
    ]
    joined, merged = join(data, reported(tmp_path / "events", *events))
    assert rows_of(joined, user) == served(data, user, events[:2])
    assert len(rows_of(joined, user)) == len(rows_of(data, user)) + 2
    assert len(rows_of(joined, "Zoë")) == 1
    assert merged.unknown_users == 1
    assert joined.users[Columns.USER].is_unique


def test_an_unknown_user_has_an_unknown_profile(films: Tables, tmp_path: Path) -> None:
    item = films.items[Columns.ITEM].tolist()[0]
    joined, merged = join(
        films, reported(tmp_path, event(1, 77, item), event(2, 78, item, "view", None))
    )
    users = joined.users.set_index(Columns.USER)
    assert (merged.unknown_users, len(users)) == (1, len(films.users) + 1), (
        "who only looked is not a user yet"
    )
    assert users.loc[77, list(films.dataset.profile)].tolist() == ["unknown"] * len(
        films.dataset.profile
    )
    artifacts.USERS.write(tmp_path, joined.users)


def test_a_forgotten_user_is_not_trained_on(films: Tables, tmp_path: Path) -> None:
    item = films.items[Columns.ITEM].tolist()[0]
    joined, merged = join(
        films, reported(tmp_path, event(1, 300, item), 300, 295, event(2, 295, item))
    )
    assert not (joined.users[Columns.USER] == 300).any()
    assert not (joined.ratings[Columns.USER] == 300).any()
    assert rows_of(joined, 295) == [(item, 5, NOW + 2)]
    assert joined.users.set_index(Columns.USER).loc[295, "gender"] == "unknown"
    assert (merged.forgotten, merged.unknown_users, merged.changed) == (2, 1, True)


def test_unknown_users_and_items_are_left_out_and_counted(
    films: Tables, tmp_path: Path
) -> None:
    item = films.items[Columns.ITEM].tolist()[0]
    joined, merged = join(
        films,
        reported(
            tmp_path,
            event(1, 300, 1),
            event(2, "Zoë", item),
            event(3, 300, "a/b"),
            "Eve",
        ),
    )
    assert (merged.unknown_items, merged.other_ids, merged.changed) == (1, 3, False)
    assert joined.ratings.equals(films.ratings)
    assert not join(films, reported(tmp_path / "nothing", 10**9))[1].changed


def test_steps_train_on_feedback_unless_disabled(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    item = first_item(settings)
    reported(
        settings.events_dir(movielens.OTHER),
        event(1, 300, item),
        event(2, 77, item),
        event(3, 77, 1),
    )
    s0_get_data.main(settings)
    said = capsys.readouterr().out
    assert "2 ratings, of 1 users who are new" in said
    assert "1 events left out: the data set has no item of that id" in said
    counted = artifacts.DATASET.read(settings.artifacts_dir)["counts"]
    too_late = Entry((9, 0), 300, event(9, 300, item))
    EventParts(settings.events_dir(movielens.OTHER)).append(0, [too_late])
    s1_data_split.main(settings)
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    recorded = ratings[ratings[Columns.SPLIT] == Split.RECORDED]
    assert recorded[Columns.TIMESTAMP].tolist() == [NOW + 2, NOW + 1]
    data = read_inputs(settings).data
    trained_on = {
        Columns.USER: data.user_numbers[data.users],
        Columns.ITEM: data.item_numbers[data.items - 1],
    }
    rows = pd.DataFrame({**trained_on, Columns.TIMESTAMP: data.times})
    assert len(recorded.merge(rows)) == 2, (
        "an unknown user's only event is trained on, too"
    )
    assert not (
        ratings.loc[ratings[Columns.SPLIT] == Split.HOLDOUT, Columns.TIMESTAMP] > NOW
    ).any()
    with_holdout = read_with_holdout(settings).data
    assert with_holdout.times.max() < NOW, "evaluation asks for a moment before"
    assert recorded_rows(settings) == 2
    described = artifacts.DATASET.read(settings.artifacts_dir)
    assert described["name"].endswith("+events")
    assert counted == described["counts"]
    assert (described["counts"]["ratings"], described["counts"]["users"]) == (
        len(ratings),
        len(artifacts.USERS.read(settings.artifacts_dir)),
    )

    without = settings.model_copy(update={"train_on_events": False})
    s0_get_data.main(without)
    s1_data_split.main(without)
    assert artifacts.RATINGS.read(settings.artifacts_dir)[Columns.TIMESTAMP].max() < NOW
    assert recorded_rows(settings) == 0


def test_a_forgotten_user_is_left_out_with_or_without_events(
    settings: Settings,
) -> None:
    settings = settings.model_copy(update={"train_on_events": False})
    reported(settings.events_dir(movielens.OTHER), event(1, 295, 1), 300)
    s0_get_data.main(settings)
    s1_data_split.main(settings)
    users = artifacts.USERS.read(settings.artifacts_dir)[Columns.USER].tolist()
    assert 300 not in users
    assert 295 in users


def test_events_of_another_data_set_do_not_join_this_one(settings: Settings) -> None:
    """Whose users and items have the same ids."""
    item = first_item(settings)
    reported(settings.events_dir("shop"), event(1, 300, item), 295)
    s0_get_data.main(settings)
    assert artifacts.EVENTS.read(settings.artifacts_dir).empty
    assert artifacts.DATASET.read(settings.artifacts_dir)["name"] == movielens.OTHER
    reported(settings.events_dir(movielens.OTHER), event(3, 300, item))
    s0_get_data.main(settings)
    assert artifacts.EVENTS.read(settings.artifacts_dir)["eventid"].tolist() == ["e3"]
    # the data set is called otherwise by now, and its events are still its own
    s0_get_data.main(settings)
    assert (
        artifacts.DATASET.read(settings.artifacts_dir)["name"]
        == f"{movielens.OTHER}+events"
    )
    assert artifacts.EVENTS.read(settings.artifacts_dir)["eventid"].tolist() == ["e3"]


def test_a_damaged_file_of_events_ends_the_step(settings: Settings) -> None:
    s0_get_data.main(settings)
    artifacts.EVENTS.at(settings.artifacts_dir).unlink()
    with pytest.raises((StepError, ArtifactError), match="s0_get_data"):
        s1_data_split.main(settings)
