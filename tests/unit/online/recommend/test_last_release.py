from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from data_exchange_center.fusion import Hits
from online.clients.elastic import CatalogueItem
from online.recommend.fallback import LastRelease
from online.recommend.release import Release
from online.recommend.types import MAX_SIZE


def opened(release: str = "aaaaaaaaaaaa", n: int = 300) -> Release:
    popular = Hits(np.arange(n, 0, -1), np.linspace(1, 0.1, n))
    catalogue = {
        itemid: CatalogueItem(itemid, f"Film {itemid} é", {"genres": ["Drama"], "year": None})
        for itemid in range(1, n + 1)
    }
    return cast(Release, cast(Any, SimpleNamespace(release=release, popular=popular, catalogue=catalogue)))


def test_another_process_reads_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "server" / "last.json"
    LastRelease(path).keep(opened())
    saved = LastRelease(path).saved
    assert saved.release == "aaaaaaaaaaaa"
    assert len(saved.item_list) == MAX_SIZE
    assert saved.item_list[0].model_dump() == {
        "itemid": 300, "score": 1.0, "title": "Film 300 é", "genres": ["Drama"], "year": None,
    }  # fmt: skip


def test_the_same_is_not_written_again_and_another_release_is(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    last = LastRelease(path)
    last.keep(opened())
    path.unlink()
    last.keep(opened())
    assert not path.exists()
    last.keep(opened("bbbbbbbbbbbb"))
    assert LastRelease(path).saved == last.saved


@pytest.mark.parametrize("content", [b"", b"{", b'{"release": "a"}', b'{"release": "a", "items": [[1, 2]]}', b"\xff"])
def test_a_damaged_file_is_none_and_is_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.json"
    path.write_bytes(content)
    last = LastRelease(path)
    assert last.saved is None
    assert str(path) in caplog.text
    last.keep(opened())
    assert LastRelease(path).saved is not None


def test_a_disk_that_cannot_be_written_to_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    last = LastRelease(tmp_path / "file" / "last.json")
    last.keep(opened())
    assert last.saved is not None
    assert "cannot be kept" in caplog.text
