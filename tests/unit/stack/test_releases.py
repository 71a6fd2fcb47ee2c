from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import Stores, manifest_path, open_release
from stack import releases
from tests.synthetic_release import write_artifacts


def test_activating_says_whose_files_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    store = SimpleNamespace(
        published=lambda release: SimpleNamespace(manifest=manifest)
    )
    monkeypatch.setattr(releases, "RedisStore", lambda _: store)
    release, recipe = manifest.release, manifest.recipe.name
    releases.warn_of_other_files(settings, release)
    assert [
        record for record in caplog.records if record.name == releases.log.name
    ] == []
    other = settings.model_copy(
        update={"recipe_name": "source" if recipe == "default" else "default"}
    )
    for each, live in ((other, release), (settings, "before")):
        caplog.clear()
        releases.warn_of_other_files(each, live)
        assert f"RECSYS_RECIPE={recipe} make offline" in caplog.text


def test_list_has_each_releases_data_set_recipe_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    os.utime(manifest_path(settings, manifest.release), (86_400, 86_400))
    held = {manifest.release, "published", "loaded"}

    def published(release: str) -> Any:
        if release != manifest.release:
            raise StepError("its manifest cannot be read")
        return SimpleNamespace(manifest=manifest)

    redis = SimpleNamespace(
        title="Redis",
        releases=lambda: held,
        published=published,
        listed=lambda: (manifest.release, [manifest.release, "published"]),
    )
    triton = SimpleNamespace(title="Triton", releases=lambda: held - {"loaded"})
    others = [
        SimpleNamespace(title=title, releases=lambda: held)
        for title in ("Elasticsearch", "Feast")
    ]
    monkeypatch.setattr(Stores, "of", lambda _: Stores(redis, *others, triton))  # type: ignore[arg-type]
    table = releases.overview(settings)
    rows = zip(*(column.cells for column in table.columns), strict=True)
    assert list(rows) == [
        (
            manifest.release,
            "live",
            manifest.dataset.name,
            manifest.recipe.name,
            "1970-01-02 00:00",
            "all",
        ),
        ("published", "published", "-", "-", "-", "all"),
        ("loaded", "loaded", "-", "-", "-", "Redis, Elasticsearch, Feast"),
    ]
