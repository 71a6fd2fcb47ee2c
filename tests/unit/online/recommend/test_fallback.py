from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import ExactItems
from data_exchange_center.features import Encoded
from data_exchange_center.fusion import Hits
from online.clients.elastic import CatalogueItem
from online.recommend.fallback import KnownUsers
from online.recommend.last_release import LastRelease
from online.recommend.types import MAX_SIZE
from tests.unit.online import contracts
from tests.unit.online.fakes import FakeItems
from tests.unit.online.world import SourceWorld, World


@pytest.fixture
def world(kind: type[World]) -> World:
    return kind()


@pytest.fixture
def client(world: World) -> ExactItems:
    return ExactItems.of(
        FakeItems(world).indexed(world.release, world.itemids, list(world.vector_dims)), world.vector_dims
    )


class TestExactItems(contracts.SearchContract):
    """All of it."""


STATE = SourceWorld().stored(1)
ROW = Encoded.none(SourceWorld().spec.of("user"), rows=1)


def test_the_least_recent_user_is_evicted_first() -> None:
    known = KnownUsers(2, 60)
    for userid in (1, 2, 1, 3):
        known.keep_state("a", userid, STATE)
    assert [known.state("a", userid) is not None for userid in (1, 2, 3)] == [True, False, True]


def test_a_state_grows_old_and_features_do_not() -> None:
    now = [0.0]
    known = KnownUsers(2, 60, lambda: now[0])
    known.keep_state("a", 1, STATE)
    known.keep_features("a", 1, ROW)
    now[0] = 60
    assert known.state("a", 1) is STATE
    now[0] = 60.1
    assert known.state("a", 1) is None
    assert known.features("a", 1) is ROW
    known.keep_state("a", 1, STATE)
    assert known.state("a", 1) is STATE
    assert known.features("a", 1) is ROW


def test_releases_are_separate_and_need_a_state() -> None:
    known = KnownUsers(5, 60)
    known.keep_state("a", 1, STATE)
    known.keep_features("b", 1, ROW)
    assert known.state("b", 1) is None
    assert known.features("b", 1) is None
    assert known.features("a", 1) is None


def test_a_state_read_before_somebody_was_forgotten_is_not_kept() -> None:
    known = KnownUsers(5, 60)
    before = known.forgotten
    known.follow(1)
    known.keep_state("a", 1, STATE, before)
    assert known.state("a", 1) is None
    known.keep_state("a", 1, STATE, known.forgotten)
    known.follow(0)  # a count that another process had read earlier
    assert known.state("a", 1) is STATE
    known.follow(2)
    assert known.state("a", 1) is None


def last_opened(release: str = "aaaaaaaaaaaa") -> Any:
    """A release of 300 items, the last one the most popular."""
    popular = Hits(np.arange(300, 0, -1), np.linspace(1, 0.1, 300))
    catalogue = {
        itemid: CatalogueItem(itemid, f"Film {itemid} é", {"genres": ["Drama"], "year": None})
        for itemid in range(1, 301)
    }
    return SimpleNamespace(release=release, popular=popular, catalogue=catalogue)


def test_another_process_reads_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "server" / "last.json"
    LastRelease(path).keep(last_opened())
    saved = LastRelease(path).saved
    assert saved.release == "aaaaaaaaaaaa"
    assert len(saved.item_list) == MAX_SIZE
    assert saved.item_list[0].model_dump() == {
        "itemid": 300, "score": 1.0, "title": "Film 300 é", "genres": ["Drama"], "year": None,
    }  # fmt: skip


def test_the_same_is_not_written_again_and_another_release_is(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    last = LastRelease(path)
    last.keep(last_opened())
    path.unlink()
    last.keep(last_opened())
    assert not path.exists()
    last.keep(last_opened("bbbbbbbbbbbb"))
    assert LastRelease(path).saved == last.saved


@pytest.mark.parametrize("content", [b"", b"{", b'{"release": "a"}', b'{"release": "a", "items": [[1, 2]]}', b"\xff"])
def test_a_damaged_file_is_none_and_replaced(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "last.json"
    path.write_bytes(content)
    last = LastRelease(path)
    assert last.saved is None
    assert str(path) in caplog.text
    last.keep(last_opened())
    assert LastRelease(path).saved is not None


def test_a_disk_that_cannot_be_written_to_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    last = LastRelease(tmp_path / "file" / "last.json")
    last.keep(last_opened())
    assert last.saved is not None
    assert "cannot be kept" in caplog.text
