"""Figures resume, pictures are drawn of them, fingerprints differ where lists do. Tables: `make readme check=1`."""

import json
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from research import figures, pictures
from research.figures import resumed, write
from research.fingerprint import differences, fingerprint

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
