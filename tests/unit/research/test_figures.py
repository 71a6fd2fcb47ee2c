"""Figures name what measured them, are measured once for a version, and resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from research import figures
from research.figures import resumed, unmeasured, write

HEAD = {"command": "make it", "dataset": "ml-1m"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    return tmp_path


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
