"""Imported recall channels, and a ranker that keeps recall's order: what a recipe with an imported model consists of.

`make import-model` writes a model's arrays by the data set's numbers (`write_model`) and a recipe that names the file.
Fitting such a channel reads the file, so that every step, check and store treats it like one that was trained here.
"""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import (
    Arrays,
    Channel,
    StoredVectors,
)
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import (
    DataRecipe,
    ListsRecipe,
    VectorRecipe,
)
from data_exchange_center.settings import load_settings
from data_exchange_center.steps import StepError
from extras.models.encoder import Encoder, ImportedEncoderRecipe

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

MODELS: Final = "models"  # in the exchange folder


class ImportedVectorsRecipe(VectorRecipe):
    """Settings of imported vectors: one of each user, stored, and one of each item, in the index."""

    trained_by: ClassVar[str] = f"{__name__}:fit"

    kind: Literal["imported_vectors"] = "imported_vectors"
    name: str = "imported"
    file: str  # as `write_model` wrote it, below the exchange folder


ImportedRecipe = ImportedVectorsRecipe | ImportedEncoderRecipe


class OrderRecipe(ListsRecipe):
    """A ranker that keeps the order of recall's fused list. It is not trained: few lists are made for it."""

    trained_by: ClassVar[str] = "extras.models.order:Order"

    kind: Literal["order"] = "order"
    stride: int = 20  # events between request points


def write_model(exchange: Path, name: str, model: Arrays) -> str:
    """Write a model's arrays; return the file below the exchange folder, named by its content.

    Args:
        model: item_numbers, items, past_users, past_events (see `trained_within`); of vectors user_numbers, users; of
            encoders codes, encoder. Numbers ascend.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict[str, Any](model))
    raw = buffer.getvalue()
    file = f"{MODELS}/{name}-{sha256(raw).hexdigest()[:32]}.npz"
    with written_in_place(exchange / file) as temporary:
        temporary.write_bytes(raw)
    return file


def read_model(file: str) -> Arrays:
    """Inverse of `write_model`."""
    with np.load(load_settings().exchange_dir / file, allow_pickle=False) as stored:
        return dict(stored)


def trained_within(model: Arrays, past: Sequences) -> bool:
    """Whether the model may have been trained on events of ``past`` alone.

    ``past_events`` of the model says of how many events of each of ``past_users`` it may know.
    """
    _, here, there = np.intersect1d(
        past.user_numbers, model["past_users"], return_indices=True
    )
    return bool((model["past_events"][there] <= past.lengths[here]).all())


def fit(
    recipe: ImportedRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Read the imported arrays.

    Raises StepError for a file that does not belong to this data set, and for a past that the model has seen more than.
    """
    from offline.models.kinds import Fitted

    model, known = read_model(recipe.file), past
    # the ranker `order` learns nothing from its lists: the model itself may make them
    if np.array_equal(past.lengths, inputs.data.earlier_lengths(OrderRecipe().past)):
        known = inputs.data
    if not trained_within(model, known):
        raise StepError(
            f"{recipe.name}: was trained on events that come after those that are given here, and would be evaluated "
            "on what it has seen: train it on what `make export-events` writes now, and import it again"
        )
    return Fitted(served(recipe, model, past.item_numbers, past.user_numbers))


def served(
    recipe: ImportedRecipe,
    model: Arrays,
    item_numbers: NDArray[np.int64],
    user_numbers: NDArray[np.int64],
) -> Channel:
    """A model's arrays in the order of a release's items and users."""
    places = 1 + _places(model["item_numbers"], item_numbers, "items", recipe.file)
    size = len(item_numbers) + 1
    known = np.zeros(size, np.bool_)
    known[places] = True
    dims = model["items"].shape[1]
    items = np.zeros((size, dims), np.float32)
    items[places] = model["items"]
    if isinstance(recipe, ImportedEncoderRecipe):
        codes = np.zeros(size, np.int64)
        codes[places] = model["codes"]
        content = model["encoder"]
        return Encoder(recipe.name, content, recipe.history, codes, items, known)

    users = np.full((len(user_numbers), dims), np.nan, np.float32)
    rows = _places(model["user_numbers"], user_numbers, "users", recipe.file)
    users[rows] = model["users"]
    return StoredVectors(recipe.name, users, items, known)


def _places(
    numbers: NDArray[np.int64], among: NDArray[np.int64], what: str, file: str
) -> NDArray[np.int64]:
    if not np.isin(numbers, among).all():
        raise StepError(
            f"{file}: holds {what} that this data set does not have: import the model again"
        )
    return np.searchsorted(among, numbers)
