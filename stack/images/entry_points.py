"""Write the entry points of pyproject.toml where Python looks for them, in an image without the project's wheel.

Reads   pyproject.toml in the working directory
Writes  recsys_pipeline.dist-info/{METADATA,entry_points.txt} next to it, on PYTHONPATH
Run     python -m stack.images.entry_points
"""

import tomllib
from configparser import ConfigParser
from pathlib import Path

from data_exchange_center import VERSION


def main(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    folder, name = root / "recsys_pipeline.dist-info", project["project"]["name"]
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    groups = ConfigParser()
    groups.read_dict(project["project"]["entry-points"])
    with (folder / "entry_points.txt").open("w", encoding="utf-8") as file:
        groups.write(file)


if __name__ == "__main__":
    main(Path.cwd())
