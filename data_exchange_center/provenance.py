"""What each step was run on, so that the parts of a release are of one run.

A step that is run again, on other data or with another recipe, changes what the steps after it must be made from.
Every step's report therefore names the files it read and their sha256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError, Binary, Document, Table, sha256

INPUTS: Final = "inputs"  # key of a report
REPORTS: Final[tuple[Document, ...]] = (  # in the order of the steps
    artifacts.TERMS_REPORT,
    artifacts.TERM_RECALL_REPORT,
    artifacts.RECALL_REPORT,
    artifacts.FEATURES_REPORT,
    artifacts.RANK_REPORT,
)


def inputs_of(exchange_dir: Path, *inputs: Table | Document | Binary) -> dict[str, dict[str, str]]:
    """For a step's report, the last file it writes: path -> sha256 of every file that it read."""
    return {INPUTS: {file.path: sha256(file.require(exchange_dir)) for file in inputs}}


def expect_one_run(exchange_dir: Path) -> None:
    """Raise ArtifactError, naming the step to run again, unless every step read what lies here now."""
    now: dict[str, str] = {}
    for report in REPORTS:
        recorded = report.read(exchange_dir).get(INPUTS)
        if not isinstance(recorded, dict) or not recorded:
            raise report.wrong(report.at(exchange_dir), "does not say what its step was run on")
        for path, digest in recorded.items():
            file = exchange_dir / path
            if path not in now:
                now[path] = sha256(file) if file.is_file() else "absent"
            if now[path] != digest:
                raise ArtifactError(
                    f"{file} is not the file that {report.made_by} was run on. Run {report.made_by} and the steps "
                    "after it again."
                )
