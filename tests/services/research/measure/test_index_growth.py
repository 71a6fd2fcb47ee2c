"""Two sizes of a catalogue in a real Elasticsearch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from offline_to_online.stores.base import elastic_client
from research.measure import index_growth
from tests.synthetic_release import write_artifacts


def test_every_size_is_searched_exactly_and_along_a_graph(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifacts(tmp_path)
    settings = stack.model_copy(update={"exchange_dir": tmp_path})
    monkeypatch.setattr(index_growth, "OUTPUT", tmp_path / "index_growth.json")
    index_growth.main(settings, (400, 1200))
    rows = json.loads(index_growth.OUTPUT.read_text())["rows"]
    assert {row["items"] for row in rows} == {400, 1200}
    assert {row["found"] for row in rows if row["index"] == "flat"} == {1.0}
    graphs = [row for row in rows if row["index"] == "hnsw"]
    assert all(0.5 < row["found"] <= 1.0 for row in graphs)
    assert all(row["bytes_an_item"] > 100 for row in rows)
    with elastic_client(settings) as client:
        assert not client.indices.exists(index="ml_item-bench")
