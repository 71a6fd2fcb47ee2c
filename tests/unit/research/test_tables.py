"""Tables and sentences of the pages, from files of figures."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from research import figures, pictures, tables
from research.tables import headline, lines, measured, note, say, table

ROOT = Path(__file__).parents[3]
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
    table("a.json", "systems", {"list": "{name}"}, users=30)
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| 列表 | users |"
    assert rows[:2] == ["| recall | 3 |", "| popularity | 40 |"]
    assert rows[-1] == "| popularity |"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_note_says_what_measured_the_file(
    language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note("a.json", "{systems/recall/users}", language=language)
    say("a.json", "{measured}", language=language)
    printed = capsys.readouterr().out
    assert measured(FILE, language) in printed
    assert all(
        part in printed for part in ("make it", "a cpu", "1.2.3", "abc", "2026-12-01")
    )


def test_paired_differences_name_what_chance_gives() -> None:
    assert (
        tables.paired({"difference": 0.01, "p_value": 0.0001}) == "+0.0100 (p < .001)"
    )
    assert tables.paired({"difference": -0.5, "p_value": 0.25}) == "-0.5000 (p = 0.250)"


def test_both_languages_show_the_same_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "FIGURES", figures.FIGURES)
    shown = []
    for language in ("en", "zh"):
        headline(language)
        shown.append(
            [
                line
                for line in capsys.readouterr().out.splitlines()
                if line.startswith("|")
            ]
        )
    numbers = [re.findall(r"\d\.\d{3}", "".join(each)) for each in shown]
    assert len(numbers[0]) == 15
    assert numbers[0] == numbers[1]


def test_no_block_of_a_page_mixes_machines() -> None:
    command = ["git", "grep", "-l", r"\[\[\[cog", "--", "*.md"]
    pages = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    for page in pages:
        for block in re.findall(
            r"\[\[\[cog(.*?)\]\]\]",
            (ROOT / page).read_text(encoding="utf-8"),
            re.DOTALL,
        ):
            files = [
                json.loads((figures.FIGURES / name).read_text())
                for name in set(re.findall(r"[\w-]+\.json", block))
            ]
            machines = [file["machine"] for file in files if "machine" in file]
            assert all(each == machines[0] for each in machines), (page, block)


@pytest.mark.parametrize("name", pictures.DRAWN)
def test_a_picture_is_drawn_from_its_file(name: str) -> None:
    file, draw = pictures.DRAWN[name]
    axes = draw(json.loads((figures.FIGURES / file).read_text(encoding="utf-8"))).axes
    assert axes
    assert all(each.has_data() or each.texts for each in axes)
