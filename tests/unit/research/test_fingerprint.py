"""Fingerprints tell the same from another answer, and say where the difference is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research import fingerprint as module
from research.fingerprint import compare, differences, fingerprint


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


def test_a_difference_fails_the_command(
    found: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(found))
    compare(found, path, module.TOLERANCE)
    other = altered(found)
    other["lists"]["fused"][0] = "another"
    path.write_text(json.dumps(other))
    with pytest.raises(StepError, match="fused: the lists of 1 of 24"):
        compare(found, path, module.TOLERANCE)
    path.write_text("{}")
    with pytest.raises(StepError, match="is not a fingerprint"):
        compare(found, path, module.TOLERANCE)
