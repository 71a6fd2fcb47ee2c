"""An interrupted measurement resumes, and a picture knows the values that it was drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from research import figure_files, reports
from research.figure_files import write_figure
from research.figures import measure_all
from research.reports import drawn_from, figure_of_study, resumed

HEAD = {"command": "make it", "dataset": "ml-1m"}


def test_an_interrupted_run_resumes_only_what_is_of_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, empty, half = tmp_path / "figure.json", {"rows": []}, {**HEAD, "rows": [1]}
    assert resumed(path, HEAD, empty) == {**HEAD, "rows": []}
    write_figure(path, half, finished=False)
    assert resumed(path, HEAD, empty) == half
    assert resumed(path, {**HEAD, "dataset": "ml-100k"}, empty)["rows"] == []
    with monkeypatch.context() as patch:
        patch.setattr(reports, "commit", lambda: "another")
        assert resumed(path, HEAD, empty)["rows"] == []
    with monkeypatch.context() as patch:
        patch.setattr(reports, "machine", dict)
        assert resumed(path, HEAD, empty)["rows"] == []
    write_figure(path, half)
    assert resumed(path, HEAD, empty)["rows"] == [], "a finished one is measured again"


def test_a_part_does_not_replace_a_finished_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "FIGURES", tmp_path)
    settings, head = Settings(exchange_dir=tmp_path / "exchange"), {**HEAD, "recipe": "default"}
    path = tmp_path / "tune.json"
    assert figure_of_study(head, settings, "tune", part=True) == path
    write_figure(path, head, finished=False)
    assert figure_of_study(head, settings, "tune", part=True) == path, "it is resumed"
    write_figure(path, head)
    assert figure_of_study(head, settings, "tune", part=False) == path
    other = figure_of_study(head, settings, "tune", part=True)
    assert other.is_relative_to(settings.offline_dir)
    assert other.name == path.name


def test_a_version_measures_a_figure_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_all, "FIGURES", tmp_path)
    path = tmp_path / "shed.json"
    assert measure_all.why_measure(path.name) == "not measured yet"
    write_figure(path, HEAD, finished=False)
    assert measure_all.why_measure(path.name) == "not measured yet"
    write_figure(path, HEAD)
    assert measure_all.why_measure(path.name) == ""
    monkeypatch.setattr(measure_all, "machine", dict)
    assert measure_all.why_measure(path.name) == "measured on another machine"
    monkeypatch.setattr(measure_all, "VERSION", "99.0.0")
    assert measure_all.why_measure(path.name).startswith("measured with version")


def test_a_picture_is_of_the_values_not_of_their_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_figure(one, {**HEAD, "rows": [1]})
    monkeypatch.setattr(figure_files, "commit", lambda: "another")
    write_figure(other, {**HEAD, "command": "make the-same", "rows": [1]})
    assert drawn_from(one) == drawn_from(other)
    write_figure(other, {**HEAD, "rows": [2]})
    assert json.loads(other.read_text())["measured"]["commit"] == "another"
    assert drawn_from(one) != drawn_from(other)
