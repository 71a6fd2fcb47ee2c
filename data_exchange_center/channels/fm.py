"""Recall channel: the source's factorization machine on userid and itemid (Rendle 2010)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from data_exchange_center.channels.contract import Fitted, VectorRecipe
from data_exchange_center.channels.stored_vectors import StoredVectors
from data_exchange_center.frozen import Need, TrainRecipe

if TYPE_CHECKING:
    from data_exchange_center.recipes import DataRecipe
    from offline.data.sequences import Inputs, Sequences


class FMRecipe(VectorRecipe):
    """Trained on rated pairs: one stored vector a user."""

    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes"})
    served: ClassVar[type[StoredVectors]] = StoredVectors

    kind: Literal["fm"] = "fm"
    name: str = "fm"
    dim: int = 16
    train: TrainRecipe

    def fit(self, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
        from offline.training.fm import fit_fm

        return fit_fm(self, past, data)
