"""What each step was run on, so that the parts of a release are of one run.

A step that is run again, on other data or with another recipe, changes what the steps after it must be made from.
Every step's report therefore names the recipe and the files it read, with their sha256.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError, Binary, Document, Table, sha256
from data_exchange_center.recipes import Recipe

INPUTS: Final = "inputs"  # keys of a report
RECIPE: Final = "made_with"
REPORTS: Final[tuple[Document, ...]] = (  # in the order of the steps
    artifacts.TERMS_REPORT,
    artifacts.TERM_RECALL_REPORT,
    artifacts.RECALL_REPORT,
    artifacts.FEATURES_REPORT,
    artifacts.RANK_REPORT,
)


def made_from(exchange_dir: Path, recipe: Recipe, *inputs: Table | Document | Binary) -> dict[str, Any]:
    """For a step's report, the last file it writes: its recipe, and path -> sha256 of every file that it read."""
    return {RECIPE: _stamp(recipe), INPUTS: {file.path: sha256(file.require(exchange_dir)) for file in inputs}}


def expect_one_run(exchange_dir: Path, recipe: Recipe) -> None:
    """Raise ArtifactError, naming the step to run again, unless every step read what lies here now, with ``recipe``."""
    now: dict[str, str] = {}
    for report in REPORTS:
        content = report.read(exchange_dir)
        recorded, stamp = content.get(INPUTS), content.get(RECIPE)
        if not isinstance(recorded, dict) or not recorded or not isinstance(stamp, dict):
            raise report.wrong(report.at(exchange_dir), "does not say what its step was run on")
        if stamp != _stamp(recipe):
            same = stamp.get("name") == recipe.name
            raise ArtifactError(
                f"{report.made_by} was run with recipe {stamp.get('name')!r}{', as it was then' if same else ''}; the "
                f"recipe now is {recipe.name!r}. Run that step and those after it again, or name the recipe that these "
                "files were made with in RECSYS_RECIPE."
            )
        for path, digest in recorded.items():
            file = exchange_dir / path
            if path not in now:
                now[path] = sha256(file) if file.is_file() else "absent"
            if now[path] != digest:
                raise ArtifactError(
                    f"{file} is not the file that {report.made_by} was run on. Run {report.made_by} and the steps "
                    "after it again."
                )


def _stamp(recipe: Recipe) -> dict[str, str]:
    """How the index is built and searched is left out: nothing that a step writes depends on it."""
    trained_by = recipe.model_dump_json(exclude={"recall": {"num_candidates", "index"}})
    return {"name": recipe.name, "sha256": hashlib.sha256(trained_by.encode()).hexdigest()}
