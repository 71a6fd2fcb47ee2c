from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from extras.client import Client
from online.main.s1_server import create_app
from research.measure import item_writes
from tests.unit.extras.conftest import Fakes, core_fakes, fakes, kind, opened, serving  # noqa: F401 (fixtures)
from tests.unit.online.world import DefaultWorld

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)


class NoReaders:
    def alone(self) -> dict[str, Any]:
        return {"p99_ms": 2.0}

    def during(self, done: Callable[[float], bool]) -> dict[str, Any]:
        while not done(0.0):
            time.sleep(0.01)
        return {"p99_ms": 3.0}


def test_items_are_added_and_removed_again(
    fakes: Fakes,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key that this needs is gone afterwards, and so is the file of keys where there was none."""
    monkeypatch.setattr(item_writes, "known_userids", lambda settings: fakes.world.userids)
    monkeypatch.setattr(item_writes, "SETTLED_S", 0.0)
    monkeypatch.setattr(item_writes, "MAX_AT_ONCE", 3)
    fakes.recommender.releases.follow()
    settings = Settings(server={"keys_file": tmp_path / "api_keys"})  # type: ignore[arg-type]
    with (
        serving(create_app(fakes.recommender, settings, fakes.stores)) as url,
        item_writes.a_key(settings) as key,
        Client(url, key) as client,
    ):
        found = item_writes.measure(settings, client, NoReaders(), 5)  # type: ignore[arg-type]
    assert list(found) == ["before", "adding", "with new items", "removing", "after"]
    assert found["adding"]["p99_ratio"] == 1.5
    assert (fakes.new_items.version, fakes.new_items.records[fakes.world.dataset]) == (10, {})
    assert not settings.keys_file.exists()
