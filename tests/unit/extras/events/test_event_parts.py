from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.events import Event
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events import s1_log_to_parquet
from extras.events.event_parts import BEGINNING, Entry, EventParts
from offline.feedback import exported
from tests.unit.offline_to_online.test_steps_without_services import nothing_runs  # noqa: F401 (a fixture)


def entry(place: int, user: int | str = 1) -> Entry:
    return Entry((place, 0), user, Event(f"e{place}", user, 7, "rating", 5))


def forget(place: int, user: int | str = 1) -> Entry:
    return Entry((place, 0), user, None)


@pytest.fixture
def parts(tmp_path: Path) -> EventParts:
    return EventParts(tmp_path / "events")


def eventids(parts: EventParts) -> list[str]:
    return exported(parts.folder)["eventid"].dropna().tolist()


def test_appended_events_are_read_in_log_order(parts: EventParts) -> None:
    assert exported(parts.folder).empty
    event = Event("e900", "Zoë", "a/b", "rating", 5, 4.5, "r1")
    parts.append(3, [entry(11), Entry((900, 0), "Zoë", event)])
    parts.append(3, [entry(1_000)])
    parts.append(4, [entry(12)])
    last = [parts.last(partition) for partition in (3, 4, 5)]
    assert last == [(1_000, 0), (12, 0), BEGINNING]
    table = exported(parts.folder)
    assert table["eventid"].tolist() == ["e11", "e12", "e900", "e1000"]
    row = table.iloc[2]
    read = Event(*(row[each.name] for each in fields(event)))
    assert read == event


def test_a_forgotten_user_is_in_no_file(parts: EventParts) -> None:
    parts.append(3, [entry(1), entry(2, user=2)])
    parts.append(3, [entry(3), forget(4), entry(5), entry(6, user=2)])
    assert eventids(parts) == ["e2", "e5", "e6"]
    table = exported(parts.folder)
    assert table.loc[table["eventid"].isna(), "userid"].tolist() == ["1"]
    assert not any(b"e1" in path.read_bytes() for path in parts.files())
    parts.append(3, [forget(9, user=2)])
    assert (eventids(parts), parts.last(3)) == (["e5"], (9, 0))


def test_files_that_cannot_be_trusted_say_what_to_do(parts: EventParts) -> None:
    for place in (1, 2, 3):
        parts.append(3, [entry(place)])
    first, second, _ = parts.files(3)
    second.unlink()
    with pytest.raises(ArtifactError, match=r"missing .*make events"):
        exported(parts.folder)
    first.write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match=r"cannot be read .*make events"):
        parts.append(3, [forget(9)])
    (parts.folder / "03-1-0.parquet").touch()
    with pytest.raises(ArtifactError, match=r"03-1-0\.parquet"):
        parts.last(3)


def test_the_step_without_redis_says_so(nothing_runs: Settings) -> None:  # noqa: F811
    with pytest.raises(StepError, match=rf"^Redis.*{nothing_runs.redis.port}.*make up"):
        s1_log_to_parquet.main(nothing_runs)
