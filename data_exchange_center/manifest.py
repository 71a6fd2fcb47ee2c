"""A release: everything that goes live together, under one id.

The id is a hash of the format, the parts' bytes, the recipe and the data set's attributes and kinds of ids, so the same
artifacts always make the same release, and each sync step, run alone, knows which one it loads. Stores hold releases
side by side (see `wire` for the names); the server answers from the one that the live pointer in Redis names.
`release_parts` makes a release of the artifacts; this module is the part that the server needs too.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, ValidationError, model_validator

from data_exchange_center import features, wire
from data_exchange_center.dataset import Dataset
from data_exchange_center.recipes import Frozen, Recipe

# Version of the stores' layout and of the model's inputs: increase it when either changes.
# 2: the ranking model is given the user's history in a tensor of its own. 3: columns of z-scores are named so.
# 4: the model has an output for each type of target.
FORMAT: Final = 4


class Part(Frozen):
    """One file of a release."""

    path: str  # below the exchange folder
    sha256: str
    bytes: int


class ParityRecord(Frozen):
    """Result of the parity check, by `offline_to_online/rank/s3_check_offline_and_online.py`."""

    users: int
    pairs: int  # of user and candidate
    # between an offline and an online value, relative to the value or to 1
    largest_difference: float
    triton_model: str  # the model that gave the scores
    triton_version: int


class Manifest(Frozen):
    """Description of a release: its parts, what the server needs to open it, and whether it may go live.

    A manifest of another format, made by another version of this project, is invalid: `why_unreadable` says so.
    """

    format: int
    release: str = Field(pattern=r"^[0-9a-f]{12}$")
    recipe: Recipe
    dataset: Dataset
    feature_spec: features.FeatureSpec
    vector_dims: dict[str, int]  # of each searched channel's vectors
    model: dict[str, Any]  # ranking model: configuration and AUC per split
    parts: tuple[Part, ...]
    # None: not checked since it was loaded, so it must not go live
    parity: ParityRecord | None = None

    @property
    def objectives(self) -> dict[str, float]:
        """Target type -> weight in the score, in the order of the ranking model's outputs; empty: it has one output."""
        return dict(self.model.get("model", {}).get("objectives", ()))

    @model_validator(mode="before")
    @classmethod
    def _of_this_format(cls, value: Any) -> Any:
        """Check the format before the fields, which differ by format. The first format had no number."""
        if (
            isinstance(value, Mapping)
            and "release" in value
            and (found := value.get("format", 1)) != FORMAT
        ):
            raise ValueError(
                f"it is of format {found}, this version of the project reads {FORMAT}"
            )
        return value


class Published(Frozen):
    """Value of `wire.manifest_key` in Redis, written when a release is published: all that a server needs."""

    manifest: Manifest
    # `wire.MODEL`, or with the sizes in its name where that model has other ones
    triton_model: str = wire.MODEL
    triton_version: int  # its version that scores for this release


def why_unreadable(error: ValidationError) -> str:
    """Explain in a few words what is wrong with a manifest."""
    first = error.errors()[0]
    return str(first.get("ctx", {}).get("error") or first["msg"])
