"""Provenance of the offline steps: what each reads, and the check that the parts of a release are of one run.

The step that writes a file is declared in `artifacts`. Every step's report names the recipe and the files that the step
read, with their sha256; so when a step is run again with another result, the outputs of later steps are outdated.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from data_exchange_center import artifacts as f
from data_exchange_center.artifacts import ARTIFACTS, Artifact, ArtifactError, Document
from data_exchange_center.files import sha256
from data_exchange_center.recipes import Recipe

INPUTS: Final = "inputs"  # keys of a report
RECIPE: Final = "made_with"


@dataclass(frozen=True)
class Step:
    """One offline step."""

    report: Document  # the last file that it writes
    # files that its output depends on, with every recipe; not `DATASET` where it only names the counts to expect
    reads: tuple[Artifact, ...] = ()
    # `RankerRecipe.examples` -> files that are read in addition
    reads_for: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of its script, in the repository."""
        return self.report.made_by

    def inputs(self, recipe: Recipe) -> tuple[Artifact, ...]:
        """Files that it reads with ``recipe``."""
        return (*self.reads, *self.reads_for.get(recipe.ranker.examples, ()))

    def outputs(self, recipe: Recipe) -> tuple[Artifact, ...]:
        """Files that it writes with ``recipe``."""
        return tuple(
            a
            for a in ARTIFACTS
            if a.made_by == self.path and a.examples in (None, recipe.ranker.examples)
        )

    def account(self, exchange_dir: Path, recipe: Recipe) -> str:
        """Say in words which files it has read and written."""
        read, written = (
            ", ".join(file.path for file in files)
            for files in (self.inputs(recipe), self.outputs(recipe))
        )
        return (
            f"in {exchange_dir}\n  read: {read or 'the data set'}\n  wrote: {written}"
        )


GET_DATA = Step(f.DATASET)  # its output is checked by other means
SPLIT = Step(f.SPLIT_REPORT, (f.DATASET, *f.RAW, f.EVENTS))
TERMS = Step(f.TERMS_REPORT, (f.RATINGS, f.USERS, f.ITEMS))
TERM_RECALL = Step(
    f.TERM_RECALL_REPORT, (f.DATASET, f.RATINGS, f.USERS, f.USER_TERMS, f.GENRES)
)
VECTOR_RECALL = Step(f.RECALL_REPORT, (f.DATASET, f.RATINGS, f.USERS, f.ITEMS))
FEATURES = Step(
    f.FEATURES_REPORT,
    (f.DATASET, f.RATINGS, f.USERS),
    {
        "pairs": (f.GENRES, f.ITEM_TERMS, f.USER_TERMS, f.IMPRESSION_TERMS),
        "lists": (f.ITEMS,),
    },
)
_OF_LISTS = (f.DATASET, f.LISTS, f.TRAINING_CHANNELS, f.CHANNELS, f.USERS, f.ITEMS)
RANKER = Step(
    f.RANK_REPORT,
    (f.FEATURE_SPEC, f.RATINGS),
    {"pairs": (f.SAMPLES,), "lists": _OF_LISTS},
)
# in order
STEPS: Final = (GET_DATA, SPLIT, TERMS, TERM_RECALL, VECTOR_RECALL, FEATURES, RANKER)
REPORTS: Final = tuple(step.report for step in STEPS if step.reads)


def made_from(exchange_dir: Path, recipe: Recipe, step: Step) -> dict[str, Any]:
    """The recipe, and path -> sha256 of every file that ``step`` reads, for its report. Raises ArtifactError."""
    read = {
        file.path: sha256(file.require(exchange_dir)) for file in step.inputs(recipe)
    }
    return {RECIPE: _stamp(recipe), INPUTS: read}


def expect_one_run(exchange_dir: Path, recipe: Recipe) -> None:
    """Raise ArtifactError, naming the step to run again, unless each was run with ``recipe`` on the present files."""
    now: dict[str, str] = {}
    for report in REPORTS:
        content = report.read(exchange_dir)
        recorded = content.get(INPUTS)
        stamp = content.get(RECIPE)
        if not (recorded and isinstance(recorded, dict) and isinstance(stamp, dict)):
            raise report.wrong(exchange_dir, "does not say what its step was run on")
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
                now[path] = sha256(file) if file.exists() else "absent"
            if now[path] != digest:
                raise ArtifactError(
                    f"{file} is not the file that {report.made_by} was run on. Run {report.made_by} and the steps "
                    "after it again."
                )


def _stamp(recipe: Recipe) -> dict[str, str]:
    """Name and digest of the recipe, without the index's settings, on which no step's output depends."""
    trained_by = recipe.model_dump_json(exclude={"recall": {"num_candidates", "index"}})
    return {
        "name": recipe.name,
        "sha256": hashlib.sha256(trained_by.encode()).hexdigest(),
    }
