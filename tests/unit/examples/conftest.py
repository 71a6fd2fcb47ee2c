"""The package of examples, installed for the tests of this folder as pip would: its entry points on the path."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center import plugins

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="package", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tmp_path_factory.mktemp("site") / "recsys_examples-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n\n".join(groups))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        plugins.declared.cache_clear()
        yield
    plugins.declared.cache_clear()
