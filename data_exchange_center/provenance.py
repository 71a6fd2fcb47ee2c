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

    path: str  # of its script, in the repository
    # files that its output depends on, with every recipe; not `DATASET` where it only names the counts to expect
    reads: tuple[Artifact, ...] = ()
    # `RankerRecipe.examples` -> files that are read in addition
    reads_for: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    # the last file that it writes; None: its output is checked by other means
    report: Document | None = None

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


GET_DATA = Step("offline/preprocess/s0_get_data.py")
SPLIT = Step(
    "offline/preprocess/s1_data_split.py",
    (f.DATASET, *f.RAW, f.EVENTS),
    report=f.SPLIT_REPORT,
)
TERMS = Step(
    "offline/preprocess/s2_term_trans.py",
    (f.RATINGS, f.USERS, f.ITEMS),
    report=f.TERMS_REPORT,
)
TERM_RECALL = Step(
    "offline/recall/s1_term_recall.py",
    (f.DATASET, f.RATINGS, f.USERS, f.USER_TERMS, f.GENRES),
    report=f.TERM_RECALL_REPORT,
)
VECTOR_RECALL = Step(
    "offline/recall/s2_vector_recall.py",
    (f.DATASET, f.RATINGS, f.USERS, f.ITEMS),
    report=f.RECALL_REPORT,
)
FEATURES = Step(
    "offline/rank/s1_feature_engi.py",
    (f.DATASET, f.RATINGS, f.USERS),
    {
        "pairs": (f.GENRES, f.ITEM_TERMS, f.USER_TERMS, f.IMPRESSION_TERMS),
        "lists": (f.ITEMS,),
    },
    f.FEATURES_REPORT,
)
RANKER = Step(
    "offline/rank/s2_model_train.py",
    (f.FEATURE_SPEC, f.RATINGS),
    {
        "pairs": (f.SAMPLES,),
        "lists": (
            f.DATASET,
            f.LISTS,
            f.TRAINING_CHANNELS,
            f.CHANNELS,
            f.USERS,
            f.ITEMS,
        ),
    },
    f.RANK_REPORT,
)
STEPS: Final = (
    GET_DATA,
    SPLIT,
    TERMS,
    TERM_RECALL,
    VECTOR_RECALL,
    FEATURES,
    RANKER,
)  # in order
REPORTS: Final = tuple(step.report for step in STEPS if step.report)


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
        if (
            not isinstance(recorded, dict)
            or not recorded
            or not isinstance(stamp, dict)
        ):
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
