"""Imported models, by the library's lists and by the stack's."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from extras.models.__main__ import export_events, import_model
from offline.preprocess import s0_get_data, s1_data_split
from research.measure.imported import quality
from tests.made_up_data import shop
from tests.unit.extras.models.bundles import events, written
from tests.unit.offline.synthetic import run_steps


@pytest.mark.parametrize("kind", ["vectors", "item-item"])
def test_served_lists_have_the_recall_of_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    settings = Settings(data=shop(tmp_path / "data", users=60, items=70, views=900))
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, tmp_path / "events")
    folder = written(tmp_path / "bundle", kind, events(settings))
    recipe = import_model(settings, folder, with_default=False)
    found = quality(
        run_steps(settings.model_copy(update={"recipe_name": str(recipe)})), folder
    )
    assert 0 < found["library"] <= 1
    assert found["stack"] == pytest.approx(
        found["library"], abs=0.03
    )  # a request does not know its own second's events
