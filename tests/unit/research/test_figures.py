"""Figures name what measured them, are measured once for a version, and resume."""

import json
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from research import figures, pictures, tables
from research.figures import resumed, write
from research.fingerprint import differences, fingerprint
from research.tables import lines, table

# Figures name what measured them, are measured once for a version, and resume.

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


# Tables and sentences of the pages, from files of figures.

MACHINE = {"cpu": "a cpu", "cores": 2, "memory_gb": 8}
FILE = {
    "command": "make it",
    "machine": MACHINE,
    "measured": {"version": "1.2.3", "commit": "abc", "date": "2026-12-01"},
    "systems": {
        "popularity": {
            "recall@50": {"mean": 0.1, "low": 0.05, "high": 0.15},
            "users": 40,
        },
        "recall": {"recall@50": {"mean": 0.2, "low": 0.15, "high": 0.25}, "users": 3},
    },
    "slices": {"popularity": {"back": 0.5}, "recall": {"back": None}},
    "last": {"default": {"0": {"at": {"hr": 0.2}}, "1": {"at": {"hr": 0.4}}}},
    "levels": [{"in flight": 4, "ms": 7.14, "turns": [7.5, 6.9]}],
}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FIGURES", tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(FILE), encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "cell", "expected"),
    [
        ("systems", "{name}", ["popularity", "fused recall"]),
        (
            "systems",
            "{recall@50|interval}",
            ["0.100 (0.050–0.150)", "0.200 (0.150–0.250)"],
        ),
        ("systems", "{recall@50/mean|.0%} of {users}", ["10% of 40", "20% of 3"]),
        ("systems", "{/slices/*/back|.1f}", ["0.5", "-"]),
        (
            "last/*/each",
            "{0}, {1}: {/last/*/each/*/hr|spread}",
            ["default, at: 0.3000 ± 0.1414"],
        ),
        ("last/*/each", "{/last/*/each/*/hr|.2f}", ["0.30"]),
        ("levels", "{in flight}: {ms} ({turns|range})", ["4: 7.14 (6.9–7.5)"]),
        ("levels", "{a.json/systems/recall/users}", ["3"]),
    ],
)
def test_a_cell_is_filled_from_the_file(
    rows: str, cell: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines("a.json", rows, [cell])
    assert capsys.readouterr().out.splitlines() == [f"| {each} |" for each in expected]


def test_a_table_has_the_rows_that_are_named_in_a_language(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table(
        "a.json",
        "systems",
        {"list": "{name}", "users": "{users}"},
        only=["recall", "popularity"],
        language="zh",
    )
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| 列表 | users |"
    assert rows == ["| recall | 3 |", "| popularity | 40 |"]


@pytest.mark.parametrize("name", pictures.DRAWN)
def test_a_picture_is_drawn_from_its_file(name: str) -> None:
    file, draw = pictures.DRAWN[name]
    axes = draw(json.loads((figures.FIGURES / file).read_text(encoding="utf-8"))).axes
    assert axes
    assert all(each.has_data() or each.texts for each in axes)


# Fingerprints tell the same from another answer, and say where the difference is.


@pytest.fixture(scope="module")
def found(exchange: Path) -> dict[str, object]:
    return fingerprint(
        Settings(recipe_name="default", exchange_dir=exchange / "default")
    )


def altered(found: dict[str, object]) -> dict[str, dict[str, list[object]]]:
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def test_differences_are_listed(found: dict[str, object]) -> None:
    other = altered(found)
    other["lists"]["ranked"][3] = "another"
    other["scores"]["mean"][0] += 1e-3  # type: ignore[operator]
    other["metrics"]["fused"]["recall@50"] = None  # type: ignore[call-overload]
    assert list(differences(found, other)) == [
        "ranked: the lists of 1 of 24 users differ",
        "scores: the mean of a user differs by 0.001",
        "metrics of fused: one differs by inf",
    ]
    assert len(list(differences(found, other, tolerance=1e-2))) == 2
    assert list(differences(found, altered(found) | {"recipe": "source"})) == [  # type: ignore[operator]
        "the recipe differs: 'default' and 'source'"
    ]
