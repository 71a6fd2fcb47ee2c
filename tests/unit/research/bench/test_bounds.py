"""The bounds that the chapter names are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import ServerSettings
from offline_to_online.stores import triton_repo
from online.recommend.open_releases import KEPT
from online.recommend.user_features import MAX_USERS
from online.stack.elasticsearch.service import HEAP
from online.web.in_hand import PLACES_PER_THREAD
from online.web.limits import MAX_BODY, MAX_HEAD

CHAPTER = Path(__file__).parents[4] / "research" / "bench"


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_bounds(readme: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (CHAPTER / readme).read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    by_setting = {cells[2]: cells[1] for cells in rows if cells[2].startswith("`RECSYS_")}
    server = ServerSettings()
    assert by_setting["`RECSYS_SERVER__THREADS`"] == str(server.threads)
    assert by_setting["`RECSYS_SERVER__WORKERS`"] == str(server.workers)
    assert f"{server.item_cache_ttl_s:.0f}" in by_setting["`RECSYS_SERVER__ITEM_CACHE_TTL_S`"]
    assert f"{server.exact_items:,}" in by_setting["`RECSYS_SERVER__EXACT_ITEMS`"]
    assert f"{server.arrival_timeout_s:.0f}" in by_setting["`RECSYS_SERVER__ARRIVAL_TIMEOUT_S`"]
    (known,) = (bound for setting, bound in by_setting.items() if "KNOWN_USERS" in setting)
    assert f"{server.known_users:,}" in known
    assert f"{server.last_state_max_age_s:.0f}" in known
    bounds = [cells[1] for cells in rows]
    waiting = (PLACES_PER_THREAD - 1) * server.threads
    assert sum(bound.startswith(str(waiting)) for bound in bounds) == 1
    assert str(MAX_USERS) in bounds
    assert any(f"{MAX_HEAD // 1024} KB" in bound for bound in bounds)
    assert MAX_HEAD == MAX_BODY
    assert KEPT == 2
    assert "512 MB" in bounds
    assert HEAP == "512m"
    assert "count: 2" in Path(triton_repo.__file__).read_text(encoding="utf-8")
