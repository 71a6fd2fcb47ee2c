from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from data_exchange_center.settings import Settings
from offline_to_online.releases import open_release
from stack import releases
from tests.synthetic_release import write_artifacts


def test_activating_says_whose_files_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    store = SimpleNamespace(published=lambda release: SimpleNamespace(manifest=manifest))
    monkeypatch.setattr(releases, "RedisStore", lambda _: store)
    release, recipe = manifest.release, manifest.recipe.name
    assert releases.files_of_another(settings, release) == ""
    other = settings.model_copy(update={"recipe_name": "source" if recipe == "default" else "default"})
    for each, live in ((other, release), (settings, "before")):
        assert f"RECSYS_RECIPE={recipe} make offline" in releases.files_of_another(each, live)
