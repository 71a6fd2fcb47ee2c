"""Imported recall channels, and a ranker that keeps recall's order: what a recipe with an imported model consists of.

`make import-model` writes a model's arrays by the data set's numbers (`Prepared`) and a recipe that names the file.
Fitting such a channel reads the file, so that every step, check and store treats it like one that was trained here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

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
NUMBERS: Final = (
    "item_numbers",
    "user_numbers",
    "past_users",
    "past_events",
)  # of `Prepared`


class ImportedVectorsRecipe(VectorRecipe):
    """Settings of imported vectors: one of each user, stored, and one of each item, in the index."""

    trained_by: ClassVar[str] = f"{__name__}:fit"

    kind: Literal["imported_vectors"] = "imported_vectors"
    name: str = "imported"
    file: str  # as `Prepared.write` wrote it, below the exchange folder
    sha256: str  # of it
    training_file: str = (
        ""  # the same model, fitted on the first part of the past; empty: there is none
    )
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


ImportedRecipe = ImportedVectorsRecipe | ImportedItemItemRecipe | ImportedEncoderRecipe


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model's arrays by the numbers of the data set, ascending."""

    item_numbers: NDArray[np.int64]
    user_numbers: NDArray[np.int64]
    arrays: Arrays  # items, users; or data, indices, indptr; or items, codes, encoder

    past_users: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # whose events the model may have been trained on
    past_events: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # how many of each of them

    def write(self, exchange: Path, name: str) -> tuple[str, str]:
        """Write the file, named by its content, so that an earlier model's file stays. Returns its path below the
        exchange folder, and its sha256."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            **dict[str, Any](
                {each: getattr(self, each) for each in NUMBERS} | dict(self.arrays)
            ),
        )
        digest = sha256(buffer.getvalue()).hexdigest()
        file = f"{MODELS}/{name}-{digest[:12]}.npz"
        with written_in_place(exchange / file) as temporary:
            temporary.write_bytes(buffer.getvalue())
        return file, digest

    @classmethod
    def read(cls, file: str, digest: str) -> Self:
        """Raises StepError where the file is gone or has changed since the recipe was written."""
        path = load_settings().exchange_dir / file
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise StepError(
                f"{path}: cannot be read ({error.strerror}): import the model again"
            ) from error
        if sha256(raw).hexdigest() != digest:
            raise StepError(
                f"{path}: has changed since its recipe was written: import the model again"
            )
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = dict(stored)
        return cls(**{each: arrays.pop(each) for each in NUMBERS}, arrays=arrays)

    def trained_within(self, past: Sequences) -> bool:
        """Whether the model may have been trained on events of ``past`` alone: on none that come after it."""
        lengths = dict(
            zip(past.user_numbers.tolist(), past.lengths.tolist(), strict=True)
        )
        counts = zip(self.past_users.tolist(), self.past_events.tolist(), strict=True)
        return all(events <= lengths.get(user, events) for user, events in counts)


@dataclass(frozen=True, eq=False)
class ItemItem(Channel):
    """Score of an item: the sum of its weights with the user's items, each of which counts once."""

    form: ClassVar[str] = "imported_item_item"

    newest: int
    data: Float32  # of a csr matrix (items + 1, items + 1) by item code
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    known: NDArray[
        np.bool_
    ]  # (items + 1,) False for padding and items that the model does not have

    def __post_init__(self) -> None:
        _ = self.rows  # now, not in a request

    @property
    def events(self) -> int:
        return self.newest

    @cached_property
    def rows(self) -> Float32 | None:
        """The matrix itself where most of it is not 0, as EASE's: its rows are summed far faster."""
        if len(self.data) < len(self.known) ** 2 / 2:
            return None
        dense = np.zeros((len(self.known), len(self.known)), np.float32)
        dense[
            np.repeat(np.arange(len(self.known)), np.diff(self.indptr)), self.indices
        ] = self.data
        return dense

    def scores(self, requests: Requests) -> Float32:
        found = np.full((len(requests), len(self.known)), NOT_FOUND, np.float32)
        for row, items in zip(found, requests.items, strict=True):
            own = np.unique(items[items > 0])
            if not len(own):
                continue
            if self.rows is not None:
                sums = self.rows[own].sum(axis=0, dtype=np.float64)
            else:
                spans = np.concatenate(
                    [
                        np.arange(self.indptr[code], self.indptr[code + 1])
                        for code in own
                    ]
                )
                sums = np.bincount(
                    self.indices[spans], self.data[spans], len(self.known)
                )
            row[self.known] = sums[self.known]
        return found


def fit(
    recipe: ImportedRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Read the imported arrays: the model's; for a past without all the events that it may have been trained on, those
    of the bundle's ``training`` model, which the ranker's training lists are made with.

    Raises StepError for a file that does not belong to this data set, and for a past that both have seen more than.
    """
    from offline.models.kinds import Fitted

    prepared = Prepared.read(recipe.file, recipe.sha256)
    usable = prepared.trained_within(past)
    if not usable and recipe.training_file:
        prepared = Prepared.read(recipe.training_file, recipe.training_sha256)
        usable = prepared.trained_within(past)
    elif not usable:  # the ranker `order` learns nothing from its lists: the model itself may make them
        lists_of = inputs.data.earlier_lengths(OrderRecipe().past)
        usable = np.array_equal(past.lengths, lists_of) and prepared.trained_within(
            inputs.data
        )
    if not usable:
        raise StepError(
            f"{recipe.name}: was trained on events that come after those that are given here, and would be evaluated "
            "on what it has seen: train it on what `make export-events` writes now, and import it again"
        )
    return Fitted(served(recipe, prepared, past.item_numbers, past.user_numbers))


def served(
    recipe: ImportedRecipe,
    prepared: Prepared,
    item_numbers: NDArray[np.int64],
    user_numbers: NDArray[np.int64],
) -> Channel:
    """Prepared arrays in the order of a release's items and users."""
    places = 1 + _places(
        prepared.item_numbers, item_numbers, "items", recipe.file
    )  # item codes
    known = np.zeros(len(item_numbers) + 1, np.bool_)
    known[places] = True
    if not isinstance(recipe, ImportedItemItemRecipe):
        items = np.zeros((len(known), prepared.arrays["items"].shape[1]), np.float32)
        items[places] = prepared.arrays["items"]
    if isinstance(recipe, ImportedEncoderRecipe):
        codes = np.zeros(len(known), np.int64)
        codes[places] = prepared.arrays["codes"]
        model = prepared.arrays["encoder"]
        return Encoder(
            recipe.name, model, recipe.history, recipe.times, codes, items, known
        )
    if isinstance(recipe, ImportedVectorsRecipe):
        users = np.full((len(user_numbers), items.shape[1]), np.nan, np.float32)
        users[_places(prepared.user_numbers, user_numbers, "users", recipe.file)] = (
            prepared.arrays["users"]
        )
        return StoredVectors(recipe.name, users, items, known)
    import scipy.sparse as sp  # the server's image has no scipy, and loads what was fitted

    arrays = prepared.arrays
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    among = sp.csr_matrix(parts, shape=(len(places), len(places))).tocoo()
    weights = sp.csr_matrix(
        (among.data, (places[among.row], places[among.col])),
        shape=(len(known), len(known)),
    )
    weights.sort_indices()
    return ItemItem(
        recipe.name,
        recipe.events,
        weights.data,
        weights.indices.astype(np.int32),
        weights.indptr.astype(np.int64),
        known,
    )


def _places(
    numbers: NDArray[np.int64], among: NDArray[np.int64], what: str, file: str
) -> NDArray[np.int64]:
    places = np.searchsorted(among, numbers)
    if len(numbers) and (
        places.max() >= len(among) or not np.array_equal(among[places], numbers)
    ):
        raise StepError(
            f"{file}: holds {what} that this data set does not have: import the model again"
        )
    return places


class OrderRecipe(ListsRecipe):
    """A ranker that keeps the order of recall's fused list. It is not trained: few lists are made for it."""

    trained_by: ClassVar[str] = "extras.models.order:Order"

    kind: Literal["order"] = "order"
    stride: int = 20  # events between request points


def config_of(spec: Any) -> dict[str, Any]:
    """The configuration of the `order` ranker for a spec's columns."""
    return {"kind": "order", "column": spec.columns.index("fused_log_rank")}
