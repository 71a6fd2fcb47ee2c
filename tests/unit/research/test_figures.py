"""Figures name what measured them, are measured once for a version, and resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_exchange_center import VERSION
from data_exchange_center.settings import Settings
from research import figures
from research.figures import commit, machine, path_of, resumed, unmeasured, write

HEAD = {"command": "make it", "dataset": "ml-1m"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    return tmp_path


def test_a_figure_names_version_commit_and_machine(folder: Path) -> None:
    write(folder / "a.json", {**HEAD, "rows": [1]})
    found = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    assert (found["rows"], found["machine"]) == ([1], machine())
    assert (found["measured"]["version"], found["measured"]["commit"]) == (
        VERSION,
        commit(),
    )


def test_an_interrupted_run_resumes_what_is_of_its_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, empty, half = folder / "a.json", {"rows": []}, {**HEAD, "rows": [1]}
    assert resumed(path, HEAD, empty) == {**HEAD, "rows": []}
    write(path, half, finished=False)
    assert resumed(path, HEAD, empty) == half
    assert resumed(path, {**HEAD, "dataset": "ml-100k"}, empty)["rows"] == []
    for name, other in (("commit", lambda: "another"), ("machine", dict)):
        with monkeypatch.context() as patch:
            patch.setattr(figures, name, other)
            assert resumed(path, HEAD, empty)["rows"] == []
    write(path, half)
    assert resumed(path, HEAD, empty)["rows"] == [], "a finished one is measured again"


@pytest.mark.parametrize(
    ("dataset", "recipe", "part", "name", "published"),
    [
        ("ml-1m", "default", False, "tune.json", True),
        ("ml-100k", "source", False, "tune_source_ml-100k.json", True),
        ("ml-1m", "default", True, "tune_ml-1m.json", False),
        ("a shop", "default", False, "tune_a shop.json", False),
    ],
)
def test_only_whole_studies_of_published_data_are_figures(
    folder: Path, dataset: str, recipe: str, part: bool, name: str, published: bool
) -> None:
    settings = Settings(exchange_dir=folder / "exchange")
    path = path_of({"dataset": dataset, "recipe": recipe}, settings, "tune", part=part)
    assert path.name == name
    assert (path.parent == folder) == published


def test_a_version_measures_a_figure_once_on_a_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unmeasured(["a"]) == ["a"]
    write(folder / "a.json", HEAD, finished=False)
    assert unmeasured(["a"]) == ["a"]
    write(folder / "a.json", HEAD)
    assert unmeasured(["a"]) == []
    monkeypatch.setattr(figures, "machine", dict)
    assert unmeasured(["a"]) == ["a"]
    assert unmeasured(["a"], anywhere=True) == []
    monkeypatch.setattr(figures, "VERSION", "99.0.0")
    assert unmeasured(["a"], anywhere=True) == ["a"]
