from __future__ import annotations

import json
from pathlib import Path

from data_exchange_center.settings import Settings
from research.measure import next_basket
from tests.made_up_data import supermarket
from tests.unit.offline.synthetic import run_steps


def test_the_next_basket_and_the_baselines(tmp_path: Path) -> None:
    settings = run_steps(
        Settings(
            data=supermarket(tmp_path / "data"), exchange_dir=tmp_path / "exchange"
        )
    )
    next_basket.main(settings)
    found = json.loads(
        (settings.offline_dir / "evaluation" / "baskets_market.json").read_text(
            encoding="utf-8"
        )
    )
    assert found["users"] == 60
    table = found["table"]
    assert table["popularity"]["recall@10"] < min(
        table[name]["recall@10"] for name in ("TIFU-KNN", "ranked")
    )
    assert (
        table["personal top"]["recall@10, had before"]
        > table["ranked"]["recall@10"] / 2
    )
