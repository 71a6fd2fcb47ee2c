"""Run the tutorial's notebooks on the running stack, and keep them with their outputs.

What differs from run to run is left out of them: times of cells, warnings, progress. The committed notebooks, whose
outputs are of MovieLens-100K, stay as they are.

Reads   docs/tutorial/*.ipynb; the stack that runs (`make demo`), and its artifacts
Writes  build/notebooks/*.ipynb
Run     make notebooks          only=2_one_request: one of them
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "docs" / "tutorial"
MADE: Final = ROOT / "build" / "notebooks"
CELL_SECONDS: Final = 300


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def execute(name: str, environment: Mapping[str, str]) -> nbformat.NotebookNode:
    """Run a notebook in a kernel of this Python. Raises CellExecutionError, with the cell, where one fails."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(FOLDER)}}
    # else each kernel warns that it is not
    encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        resources=resources,
        config=encrypted,
    )
    client.execute(env={**environment, "PYTHONUNBUFFERED": "1"})
    return cleaned(notebook)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what a run says on standard error, and the kernel's own metadata."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                each for each in cell.outputs if each.get("name") != "stderr"
            ]
            cell.metadata = {}
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "only",
        nargs="*",
        choices=[[], *names()],
        metavar="notebook",
        help=", ".join(names()),
    )
    MADE.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().only or names():
        path = MADE / f"{name}.ipynb"
        nbformat.write(execute(name, os.environ), path)  # type: ignore[no-untyped-call]
        print(path)  # noqa: T201


if __name__ == "__main__":
    main()
