from __future__ import annotations

import shutil
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from online.stack.images.entry_points import main

ROOT = Path(__file__).parents[5]


def test_python_finds_in_an_image_what_pyproject_declares(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    main(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (found.name, found.version) == (declared["name"], declared["version"])
    points = {(point.group, point.name, point.value) for point in found.entry_points}
    assert points == {
        (group, name, value) for group, named in declared["entry-points"].items() for name, value in named.items()
    }
