"""Write the entry points of pyproject.toml where Python looks for them, in an image without the project's wheel.

Reads   pyproject.toml in the working directory
Writes  recsys_pipeline.dist-info/{METADATA,entry_points.txt} next to it, on PYTHONPATH
Run     python -m stack.images.entry_points
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from data_exchange_center import VERSION


def main(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    folder = root / "recsys_pipeline.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {VERSION}\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    groups = [
        "\n".join(
            [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
        )
        for group, points in project["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")


if __name__ == "__main__":
    main(Path.cwd())
