"""Imported recall channels, and a ranker that keeps recall's order: what a recipe with an imported model consists of.

`make import-model` writes a model's arrays by the data set's numbers (`write_model`) and a recipe that names the file.
Fitting such a channel reads the file, so that every step, check and store treats it like one that was trained here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import (
    Arrays,
    Channel,
    Float32,
    Requests,
    StoredVectors,
)
from data_exchange_center.files import written_in_place
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.recipes import (
    ChannelRecipe,
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

EVENTS: Final = 1000  # newest events of a user that an item-item model reads
MODELS: Final = "models"  # in the exchange folder


class ImportedVectorsRecipe(VectorRecipe):
    """Settings of imported vectors: one of each user, stored, and one of each item, in the index."""

    trained_by: ClassVar[str] = f"{__name__}:fit"

    kind: Literal["imported_vectors"] = "imported_vectors"
    name: str = "imported"
    file: str  # as `write_model` wrote it, below the exchange folder


class ImportedItemItemRecipe(ChannelRecipe):
    """Settings of an imported matrix of items x items, whose rows of the user's items are summed."""

    trained_by: ClassVar[str] = f"{__name__}:fit"
    served_as: ClassVar[str] = f"{__name__}:ItemItem"

    kind: Literal["imported_item_item"] = "imported_item_item"
    name: str = "imported"
    file: str


ImportedRecipe = ImportedVectorsRecipe | ImportedItemItemRecipe | ImportedEncoderRecipe


class OrderRecipe(ListsRecipe):
    """A ranker that keeps the order of recall's fused list. It is not trained: few lists are made for it."""

    trained_by: ClassVar[str] = "extras.models.order:Order"

    kind: Literal["order"] = "order"
    stride: int = 20  # events between request points


@dataclass(frozen=True, eq=False)
class ItemItem(Channel):
    """Score of an item: the sum of its weights with the user's items, each of which counts once; 0: not found."""

    form: ClassVar[str] = "imported_item_item"

    data: Float32  # of a csr matrix (items + 1, items + 1) by item code
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    known: NDArray[np.bool_]  # (items + 1,) whether the model has the item

    def __post_init__(self) -> None:
        _ = self.rows  # now, not in a request

    @property
    def events(self) -> int:
        return EVENTS

    @cached_property
    def rows(self) -> Float32 | None:
        """The matrix itself where most of it is not 0, as EASE's: its rows are summed far faster."""
        size = len(self.known)
        if len(self.data) < size**2 / 2:
            return None
        dense = np.zeros((size, size), np.float32)
        dense[np.repeat(np.arange(size), np.diff(self.indptr)), self.indices] = (
            self.data
        )
        return dense

    def scores(self, requests: Requests) -> Float32:
        found = np.full((len(requests), len(self.known)), NOT_FOUND, np.float32)
        for row, items in zip(found, requests.items, strict=True):
            own = np.unique(items[items > 0])
            sums = self._sums(own)
            reached = self.known & (sums != 0)
            row[reached] = sums[reached]
        return found

    def _sums(self, own: NDArray[np.integer]) -> NDArray[np.float64]:
        if self.rows is not None:
            dense: NDArray[np.float64] = self.rows[own].sum(axis=0, dtype=np.float64)
            return dense
        spans = [np.arange(self.indptr[code], self.indptr[code + 1]) for code in own]
        cells = np.concatenate([[], *spans]).astype(np.intp)
        sums = np.bincount(self.indices[cells], self.data[cells], len(self.known))
        return sums.astype(np.float64)


def write_model(exchange: Path, name: str, model: Arrays) -> str:
    """Write a model's arrays; return the file below the exchange folder, named by its content.

    Args:
        model: item_numbers, past_users, past_events (see `trained_within`), and of vectors items, user_numbers, users;
            of item-item data, indices, indptr; of encoders items, codes, encoder. Numbers ascend.
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
    if isinstance(recipe, ImportedItemItemRecipe):
        lengths = np.zeros(size, np.int64)
        lengths[places] = np.diff(model["indptr"])
        indices = places[model["indices"]].astype(np.int32)
        indptr = np.concatenate([[0], lengths.cumsum()])
        return ItemItem(recipe.name, model["data"], indices, indptr, known)

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
