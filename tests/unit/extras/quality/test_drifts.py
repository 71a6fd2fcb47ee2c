"""Drift against the artifacts of a made-up release, without Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.manifest import Manifest
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.experiments.store import Exposure
from extras.quality.__main__ import drifts
from tests.synthetic_release import write_artifacts

USERS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    write_artifacts(folder, users=USERS)
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    for path in (Settings(exchange_dir=folder).service_dir("quality")).glob("*"):
        path.unlink()
    return Settings(exchange_dir=folder)


@pytest.fixture
def manifest(settings: Settings) -> Manifest:
    return release_of_artifacts(settings)


def shown(manifest: Manifest, users: Sequence[OwnId]) -> list[Exposure]:
    dataset = manifest.dataset.base_name
    return [
        Exposure(
            "",
            "",
            f"{n}",
            dataset,
            n,
            manifest.release,
            True,
            1,
            1_000,
            (1,),
            score=0.5,
        )
        for n in users
    ]


def answering(monkeypatch: pytest.MonkeyPatch, degraded: int) -> None:
    """A server that answers so many of the requests without a score."""
    answered = 0

    def recommend(*_: Any, **__: Any) -> Any:
        nonlocal answered
        answered += 1
        return SimpleNamespace(
            degraded=[],
            cold_start=answered <= degraded,
            item_list=[SimpleNamespace(score=0.5)],
        )

    monkeypatch.setattr(Client, "recommend", recommend)


@pytest.mark.parametrize(("degraded", "kept"), [(0, True), (100, True), (101, False)])
def test_scores_of_a_degraded_server_are_not_kept(
    settings: Settings,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    degraded: int,
    kept: bool,
) -> None:
    answering(monkeypatch, degraded)
    own = settings.service_dir("quality")
    own.mkdir(parents=True, exist_ok=True)
    (own / "earlier.json").write_text("{}")
    users = list(read_own_ids(settings.exchange_dir).users.values())
    found, problem = drifts(
        settings, manifest, shown(manifest, users), {user: [] for user in users}
    )
    features = {each.feature for each in found}
    assert "gender" in features, "a failure of the scores leaves the others"
    assert ("score" in features) is kept is (not problem)
    path = own / f"{manifest.release}.json"
    assert path.exists() is kept
    if kept:
        assert len(json.loads(path.read_text())["scores"]) == 300 - degraded
        assert [each.name for each in own.iterdir()] == [path.name]


def test_events_that_were_trained_on_are_not_counted_again(
    settings: Settings, manifest: Manifest
) -> None:
    ids = read_own_ids(settings.exchange_dir)
    users = list(ids.users.values())
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    events: dict[OwnId, list[Event]] = {user: [] for user in users}
    for row in ratings.itertuples():
        user, item = (
            ids.users[getattr(row, Columns.USER)],
            ids.items[getattr(row, Columns.ITEM)],
        )
        events[user].append(
            Event(
                f"{row.Index}",
                user,
                item,
                "rating",
                int(getattr(row, Columns.TIMESTAMP)),
                5,
            )
        )
    exposures = [replace(each, score=None) for each in shown(manifest, users[:250])]
    found, _ = drifts(settings, manifest, exposures, events)
    of = {each.feature: each for each in found}
    assert of["events of a user"].psi < 0.2
    assert "rating" not in of, "there are no new events"
