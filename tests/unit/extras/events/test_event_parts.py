from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events import s1_log_to_parquet
from extras.events.event_parts import BEGINNING, Entry, EventParts
from tests.unit.offline_to_online.test_steps_without_services import nothing_runs  # noqa: F401 (a fixture)


def entry(place: int, user: int | str = 1, **fields: object) -> Entry:
    event = Event(
        **(
            {
                "eventid": f"e{place}",
                "userid": user,
                "itemid": 7,
                "type": "rating",
                "timestamp": 5,
            }
            | fields
        )
    )
    return Entry((place, 0), user, event)


def forget(place: int, user: int | str = 1) -> Entry:
    return Entry((place, 0), user, None)


def eventids(parts: EventParts) -> list[str]:
    return parts.read()["eventid"].dropna().tolist()


def test_appended_events_are_read_in_log_order(tmp_path: Path) -> None:
    parts = EventParts(tmp_path / "events")
    assert parts.last(3) == BEGINNING
    assert parts.read().empty
    parts.append(
        3, [entry(11), entry(900, "Zoë", itemid="a/b", value=4.5, recommendation="r1")]
    )
    parts.append(3, [entry(1_000)])
    parts.append(4, [entry(12)])
    assert (parts.last(3), parts.last(4), parts.last(5)) == (
        (1_000, 0),
        (12, 0),
        BEGINNING,
    )
    table = parts.read()
    assert table["eventid"].tolist() == ["e11", "e12", "e900", "e1000"]
    row = table.iloc[2]
    assert (row.userid, row.itemid, row.value, row.recommendation) == (
        "Zoë",
        "a/b",
        4.5,
        "r1",
    )
    artifacts.EVENTS.write(tmp_path, table)
    assert artifacts.EVENTS.read(tmp_path).equals(table)


def test_a_forgotten_user_is_in_no_file(tmp_path: Path) -> None:
    parts = EventParts(tmp_path)
    parts.append(3, [entry(1), entry(2, user=2)])
    parts.append(3, [entry(3), forget(4), entry(5), entry(6, user=2)])
    assert eventids(parts) == ["e2", "e5", "e6"]
    table = parts.read()
    assert table.loc[table["eventid"].isna(), "userid"].tolist() == ["1"]
    assert b"e1" not in b"".join(
        path.read_bytes() for path in tmp_path.glob("*.parquet")
    )
    parts.append(3, [forget(9, user=2)])
    assert (eventids(parts), parts.last(3)) == (["e5"], (9, 0))


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    parts = EventParts(tmp_path)
    parts.append(3, [entry(1)])
    next(tmp_path.glob("*.parquet")).write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match=r"03-.*Delete it.*make events"):
        parts.read()


def test_a_missing_file_in_the_middle_is_an_error(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    parts = EventParts(settings.events_dir("films"))
    for place in (1, 2, 3):
        parts.append(3, [entry(place)])
    parts.append(4, [entry(9)])
    assert parts.gaps() == 0
    parts.files(3)[1].unlink()
    assert (parts.missing(3), parts.gaps()) == ([((1, 0), (2, 0))], 1)
    with pytest.raises(ArtifactError, match="make events"):
        parts.read()
    parts.append(3, [entry(2)], (1, 0), (2, 0))
    assert eventids(parts) == ["e1", "e2", "e3", "e9"]


def test_a_refilled_gap_respects_later_forgetting(tmp_path: Path) -> None:
    """And what it forgets itself is what came before it."""
    parts = EventParts(tmp_path)
    parts.append(3, [entry(1), entry(2, user=2)])
    parts.append(3, [entry(3), forget(4, user=2), entry(5)])
    parts.append(3, [forget(6), entry(7), entry(8, user=2)])
    parts.files(3)[1].unlink()
    parts.append(3, [entry(3), forget(4, user=2), entry(5)], (2, 0), (5, 0))
    assert eventids(parts) == ["e7", "e8"]


def test_a_file_with_another_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "03-1-0.parquet").touch()
    with pytest.raises(ArtifactError, match=r"03-1-0\.parquet"):
        EventParts(tmp_path).last(3)


def test_the_step_without_redis_says_so(nothing_runs: Settings) -> None:  # noqa: F811
    with pytest.raises(StepError, match=rf"^Redis.*{nothing_runs.redis.port}.*make up"):
        s1_log_to_parquet.main(nothing_runs)
