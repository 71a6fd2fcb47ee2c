"""Imported recall channels, and a ranker that keeps recall's order: what a recipe with an imported model consists of.

`make import-model` writes a model's arrays by the data set's numbers (`Prepared`) and a recipe that names the file.
Fitting such a channel reads the file, so that every step, check and store treats it like one that was trained here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Arrays, Channel, Float32, Requests, StoredVectors
from data_exchange_center.files import written_in_place
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.recipes import ChannelRecipe, DataRecipe, ListsRecipe, VectorRecipe
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

EVENTS: Final = 1000  # newest events of a user that an item-item model reads


class ImportedVectorsRecipe(VectorRecipe):
    """Settings of imported vectors: one of each user, stored, and one of each item, in the index."""

    trained_by: ClassVar[str] = f"{__name__}:fit"

    kind: Literal["imported_vectors"] = "imported_vectors"
    name: str = "imported"
    file: str  # as `Prepared.write` wrote it
    sha256: str  # of it
    training_file: str = ""  # the same model, fitted on the first part of the past; empty: there is none
    training_sha256: str = ""


class ImportedItemItemRecipe(ChannelRecipe):
    """Settings of an imported matrix of items x items, whose rows of the user's items are summed."""

    trained_by: ClassVar[str] = f"{__name__}:fit"
    served_as: ClassVar[str] = f"{__name__}:ItemItem"

    kind: Literal["imported_item_item"] = "imported_item_item"
    name: str = "imported"
    file: str
    sha256: str
    training_file: str = ""
    training_sha256: str = ""
    events: int = EVENTS


ImportedRecipe = ImportedVectorsRecipe | ImportedItemItemRecipe


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model's arrays by the numbers of the data set, ascending."""

    item_numbers: NDArray[np.int64]
    user_numbers: NDArray[np.int64]
    arrays: Arrays  # items, users; or data, indices, indptr

    def write(self, path: Path) -> str:
        """Write the file; return its sha256."""
        buffer = io.BytesIO()
        numbers = {"item_numbers": self.item_numbers, "user_numbers": self.user_numbers}
        np.savez(buffer, **dict[str, Any](numbers | dict(self.arrays)))
        with written_in_place(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
        return sha256(buffer.getvalue()).hexdigest()

    @classmethod
    def read(cls, path: str, digest: str) -> Self:
        """Raises StepError where the file is gone or has changed since the recipe was written."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise StepError(f"{path}: cannot be read ({error.strerror}): import the model again") from error
        if sha256(raw).hexdigest() != digest:
            raise StepError(f"{path}: has changed since its recipe was written: import the model again")
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = dict(stored)
        return cls(arrays.pop("item_numbers"), arrays.pop("user_numbers"), arrays)


@dataclass(frozen=True, eq=False)
class ItemItem(Channel):
    """Score of an item: the sum of its weights with the user's items, each of which counts once."""

    form: ClassVar[str] = "imported_item_item"

    newest: int
    data: Float32  # of a csr matrix (items + 1, items + 1) by item code
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    known: NDArray[np.bool_]  # (items + 1,) False for padding and items that the model does not have

    @property
    def events(self) -> int:
        return self.newest

    def scores(self, requests: Requests) -> Float32:
        found = np.full((len(requests), len(self.known)), NOT_FOUND, np.float32)
        for row, items in zip(found, requests.items, strict=True):
            own = np.unique(items[items > 0])
            if len(own):
                spans = np.concatenate([np.arange(self.indptr[code], self.indptr[code + 1]) for code in own])
                sums = np.bincount(self.indices[spans], self.data[spans], len(self.known))
                row[self.known] = sums[self.known]
        return found


def fit(recipe: ImportedRecipe, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
    """Read the imported arrays. The channel behind the ranker's training lists is the bundle's ``training`` model.

    Raises StepError for a file that does not belong to this data set.
    """
    from offline.models.kinds import Fitted

    training = past is not inputs.data and recipe.training_file
    prepared = (
        Prepared.read(recipe.training_file, recipe.training_sha256)
        if training
        else Prepared.read(recipe.file, recipe.sha256)
    )
    return Fitted(served(recipe, prepared, past.item_numbers, past.user_numbers))


def served(
    recipe: ImportedRecipe, prepared: Prepared, item_numbers: NDArray[np.int64], user_numbers: NDArray[np.int64]
) -> Channel:
    """Prepared arrays in the order of a release's items and users."""
    places = 1 + _places(prepared.item_numbers, item_numbers, "items", recipe.file)  # item codes
    known = np.zeros(len(item_numbers) + 1, np.bool_)
    known[places] = True
    if isinstance(recipe, ImportedVectorsRecipe):
        items = np.zeros((len(known), prepared.arrays["items"].shape[1]), np.float32)
        items[places] = prepared.arrays["items"]
        users = np.full((len(user_numbers), items.shape[1]), np.nan, np.float32)
        users[_places(prepared.user_numbers, user_numbers, "users", recipe.file)] = prepared.arrays["users"]
        return StoredVectors(recipe.name, users, items, known)
    import scipy.sparse as sp  # the server's image has no scipy, and loads what was fitted

    arrays = prepared.arrays
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    among = sp.csr_matrix(parts, shape=(len(places), len(places))).tocoo()
    weights = sp.csr_matrix((among.data, (places[among.row], places[among.col])), shape=(len(known), len(known)))
    weights.sort_indices()
    return ItemItem(
        recipe.name,
        recipe.events,
        weights.data,
        weights.indices.astype(np.int32),
        weights.indptr.astype(np.int64),
        known,
    )


def _places(numbers: NDArray[np.int64], among: NDArray[np.int64], what: str, file: str) -> NDArray[np.int64]:
    places = np.searchsorted(among, numbers)
    if len(numbers) and (places.max() >= len(among) or not np.array_equal(among[places], numbers)):
        raise StepError(f"{file}: holds {what} that this data set does not have: import the model again")
    return places


class OrderRecipe(ListsRecipe):
    """A ranker that keeps the order of recall's fused list. It is not trained: few lists are made for it."""

    trained_by: ClassVar[str] = "extras.models.order:Order"

    kind: Literal["order"] = "order"
    stride: int = 20  # events between request points


def config_of(spec: Any) -> dict[str, Any]:
    """The configuration of the `order` ranker for a spec's columns."""
    return {"kind": "order", "column": spec.columns.index("fused_log_rank")}
