from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History
from data_exchange_center.settings import Settings
from extras.events.event_parts import Entry, EventParts
from offline import movielens
from offline.feedback import Merged, exported, merge
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs, read_with_holdout
from tests.datasets import Tables, tables_of
from tests.made_up_data import shop
from tests.unit.offline.synthetic import made_up_movielens

NOW = 2_000_000_000
ITEM, OTHER, THIRD = 10, 13, 16  # of the made-up films
Rows = list[tuple[int, int, int]]  # item, rating, time


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = made_up_movielens(tmp_path / "ml")
    return Settings(data=data, exchange_dir=tmp_path / "exchange")


@pytest.fixture
def films(settings: Settings) -> Tables:
    assert settings.data
    return tables_of(settings.data)


def event(
    number: int,
    user: OwnId,
    item: OwnId = ITEM,
    kind: str = "rating",
    value: float | None = 5.0,
) -> Event:
    return Event(f"e{number}", user, item, kind, NOW + number, value)


def report(folder: Path, *events: Event | OwnId) -> None:
    """Export events in the order of the log; an id alone: the user was forgotten."""
    entries = []
    for number, each in enumerate(events, start=1):
        position = number, 0
        if isinstance(each, Event):
            entries.append(Entry(position, each.userid, each))
        else:
            entries.append(Entry(position, each, None))
    EventParts(folder).append(0, entries)


def join(data: Tables, folder: Path, *events: Event | OwnId) -> tuple[Tables, Merged]:
    """The data set with the events in it, and what became of them."""
    report(folder / "events", *events)
    merged = merge(*data, exported(folder / "events"))
    return data._replace(ratings=merged.ratings, users=merged.users), merged


def rows_of(data: Tables, user: OwnId) -> Rows:
    known = data.users.set_index(Columns.OWN_ID)[Columns.USER]
    rows = data.ratings[data.ratings[Columns.USER] == known[str(user)]]
    columns = rows[[Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]]
    return list(columns.itertuples(index=False, name=None))


def served(data: Tables, user: OwnId, *events: Event) -> Rows:
    """The history that a server has of a user whose state is made of ``data``, oldest event first."""
    before = History(*np.array(rows_of(data, user), np.int64)[::-1].T)
    logged = [
        Logged(each.timestamp, (place, 0), each) for place, each in enumerate(events)
    ]
    kind = int if data.dataset.item_ids == "integer" else str
    own_ids = map(kind, data.items[Columns.OWN_ID])
    items = dict(zip(own_ids, data.items[Columns.ITEM], strict=True))
    nothing = np.empty(0, np.int32)
    now, _ = updated(before, nothing, logged, items, data.dataset)
    columns = (now.item_numbers, now.ratings, now.times)
    return list(zip(*columns, strict=True))[::-1]


def test_a_user_has_the_history_that_a_server_answers_from(
    films: Tables, tmp_path: Path
) -> None:
    events = [
        event(5, 300),
        event(3, 300, OTHER, value=2.0),
        event(4, 300, rows_of(films, 300)[0][0], value=1.0),
        event(6, 300, THIRD),
        event(7, 300, THIRD, "undo", None),
        event(8, 300, OTHER, "hide", None),
    ]
    joined, merged = join(films, tmp_path, *events)
    rows = rows_of(joined, 300)
    assert rows == served(films, 300, *events)
    assert rows[-1] == (ITEM, 5, NOW + 5)
    assert THIRD not in {item for item, _, _ in rows[-3:]}
    before, after = (
        data.ratings[data.ratings[Columns.USER] != 300] for data in (films, joined)
    )
    assert np.array_equal(before, after)
    assert (merged.rated, merged.changed) == (4, True)


def test_events_of_a_data_set_with_ids_of_its_own(tmp_path: Path) -> None:
    """String ids, no values: an event is one more."""
    data = tables_of(shop(tmp_path / "shop"))
    user, item = data.users[Columns.OWN_ID][0], data.items[Columns.OWN_ID][0]
    clicks = [event(n, user, item, "click", None) for n in (1, 2)]
    joined, merged = join(data, tmp_path, *clicks, event(3, "Zoë", item, "click"))
    assert rows_of(joined, user) == served(data, user, *clicks)
    assert len(rows_of(joined, user)) == len(rows_of(data, user)) + 2
    assert len(rows_of(joined, "Zoë")) == 1
    assert merged.unknown_users == 1
    assert joined.users[Columns.USER].is_unique


def test_a_forgotten_user_is_not_trained_on(films: Tables, tmp_path: Path) -> None:
    joined, merged = join(films, tmp_path, event(1, 300), 300, 295, event(2, 295))
    assert not joined.users[Columns.USER].eq(300).any()
    assert not joined.ratings[Columns.USER].eq(300).any()
    assert rows_of(joined, 295) == [(ITEM, 5, NOW + 2)]
    assert joined.users.set_index(Columns.USER).loc[295, "gender"] == "unknown"
    assert (merged.forgotten, merged.unknown_users, merged.changed) == (2, 1, True)


def test_unknown_users_and_items_are_left_out_and_counted(
    films: Tables, tmp_path: Path
) -> None:
    no_item, other_kinds = event(1, 300, 1), (event(2, "Zoë"), event(3, 300, "a/b"))
    joined, merged = join(films, tmp_path, no_item, *other_kinds, "Eve")
    assert (merged.unknown_items, merged.other_ids, merged.changed) == (1, 3, False)
    assert joined.ratings.equals(films.ratings)


def run(settings: Settings) -> pd.DataFrame:
    """Run the steps that read the data. The ratings, each with its split."""
    s0_get_data.main(settings)
    s1_data_split.main(settings)
    return artifacts.RATINGS.read(settings.artifacts_dir)


def test_steps_train_on_feedback(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    events = event(1, 300), event(2, 77), event(3, 77, 1)
    report(settings.events_dir(movielens.OTHER), *events)
    ratings = run(settings)
    said = capsys.readouterr().out
    assert "2 ratings, of 1 users who are new" in said
    assert "1 events left out: the data set has no item of that id" in said
    recorded = ratings[ratings[Columns.SPLIT] == Split.RECORDED]
    assert recorded[Columns.TIMESTAMP].tolist() == [NOW + 2, NOW + 1]
    assert (read_inputs(settings).data.times > NOW).sum() == len(recorded)
    with_holdout = read_with_holdout(settings).data
    assert with_holdout.times.max() < NOW, "evaluation asks for a moment before"
    described = artifacts.DATASET.read(settings.artifacts_dir)
    assert described["name"].endswith("+events")
    assert described["counts"]["ratings"] == len(ratings)


def test_without_feedback_forgotten_users_are_left_out(settings: Settings) -> None:
    settings = settings.model_copy(update={"train_on_events": False})
    report(settings.events_dir(movielens.OTHER), event(1, 295, 1), 300)
    ratings = run(settings)
    assert ratings[Columns.TIMESTAMP].max() < NOW
    assert Split.RECORDED not in ratings[Columns.SPLIT].tolist()
    users = artifacts.USERS.read(settings.artifacts_dir)[Columns.USER].tolist()
    assert (300 in users, 295 in users) == (False, True)


def test_events_of_another_data_set_do_not_join_this_one(settings: Settings) -> None:
    """Whose users and items have the same ids."""
    report(settings.events_dir("shop"), event(1, 300), 295)
    report(settings.events_dir(movielens.OTHER), event(3, 300))
    # at the second run the data set is called otherwise, and its events are still its own
    for _ in range(2):
        s0_get_data.main(settings)
        folder = settings.artifacts_dir
        assert artifacts.DATASET.read(folder)["name"] == f"{movielens.OTHER}+events"
        assert artifacts.EVENTS.read(folder)["eventid"].tolist() == ["e3"]
