"""Step 4: fit the recall channels, and export their vectors.

In industry: a two-tower model whose item vectors fill an approximate-nearest-neighbour index. Here the channels of both
recipes give item vectors whose inner product with a user's vector *is* the model's ranking: popularity or item bias is
one more dimension. Items that a channel was never trained on get no vector: a random one must not be found.

Recipe source: a factorization machine on userid and itemid, trained on rated pairs, twice: without the validation part
of the training rows, to see how it does, then on all of them. It learns a vector for each user, which is stored.
Recipe default: a two-tower model, and EASE, a linear item-item model. The two-tower model is trained at request points,
which are moments in a user's past when a request could have come: to find, from the events before one, what was liked
next among all items. Both user vectors are weighted sums over the history, the tower's with a layer of hidden units
that reads them: the tables are stored, and a request makes the vector.

Reads:  offline/raw/dataset.json, offline/{ratings,users,items}.parquet
Writes: offline/{user_vectors,item_vectors}.parquet, offline/channels.npz, offline/recall_report.json
Run:    cd offline/recall && python s2_vector_recall.py
Expect: source: test AUC about 0.812; default: two channels of 66 dimensions, a loss that falls (MovieLens-1M)
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, plugins, provenance, steps, wire
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.channels import (
    Channel,
    ChannelSet,
    Float32,
    StoredVectors,
    VectorChannel,
)
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import ChannelRecipe, DataRecipe, Recipe, VectorRecipe
from data_exchange_center.settings import Settings
from offline.data.sequences import Bools, Inputs, Sequences
from offline.models import ease, fm, tower, training
from offline.models.kinds import Fitted
from offline.readers import read_inputs

# Kind -> what fits it; a kind of another package names its own
CHANNELS: Final[dict[str, Callable[..., Fitted]]] = {
    "tower": tower.fit,
    "ease": ease.fit,
    "fm": fm.fit,
}


def main(settings: Settings) -> None:
    folder, recipe = settings.artifacts_dir, settings.recipe
    read = provenance.made_from(folder, recipe, provenance.VECTOR_RECALL)
    inputs = read_inputs(settings)
    past = inputs.data

    fitted = fit_channels(past, inputs, recipe)
    channels = [each.channel for each in fitted]
    artifacts.USER_VECTORS.write(folder, user_vectors(channels, past))
    artifacts.ITEM_VECTORS.write(folder, item_vectors(channels, past))
    artifacts.CHANNELS.write(folder, pack_channels(channel_set(channels, past)))
    reports = {each.channel.name: each.report for each in fitted}
    artifacts.RECALL_REPORT.write(folder, {"channels": reports, **read})
    print(provenance.VECTOR_RECALL.account(folder, recipe))
    for each in fitted:
        print(f"{each.channel.name}: {each}{training.summary(each.report)}")


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> list[Fitted]:
    """All channels of the recipe, in its order, fitted on ``past``: events of the users and items of ``inputs``."""
    return [
        fit_channel(channel, past, inputs, recipe.data)
        for channel in recipe.recall.channels
    ]


def fit_channel(
    recipe: ChannelRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Fit a channel.

    Raises TypeError where recipe and channel do not agree on whether there are vectors to search.
    """
    fit = CHANNELS.get(recipe.kind) or plugins.part(recipe, "trained_by")
    fitted: Fitted = fit(recipe, past, inputs, data)
    if isinstance(fitted.channel, VectorChannel) != isinstance(recipe, VectorRecipe):
        raise TypeError(
            f"{recipe.kind}: a VectorRecipe is served by a VectorChannel, and only a VectorRecipe is"
        )
    settings = recipe.model_dump(mode="json")
    return Fitted(fitted.channel, {"recipe": settings, **fitted.report})


def user_vectors(channels: Sequence[Channel], past: Sequences) -> pd.DataFrame:
    """`artifacts.USER_VECTORS`: every user; null where a channel was not trained on one."""
    table: dict[str, Any] = {Columns.USER: past.user_numbers}
    for channel in channels:
        if isinstance(channel, StoredVectors):
            known = np.isfinite(channel.users[:, 0])
            table[wire.vector_of(channel.name)] = or_null(channel.users, known)
    return pd.DataFrame(table)


def item_vectors(channels: Sequence[Channel], past: Sequences) -> pd.DataFrame:
    """`artifacts.ITEM_VECTORS`: every item; null where a channel was not trained on one."""
    table: dict[str, Any] = {Columns.ITEM: past.item_numbers}
    for channel in channels:
        if isinstance(channel, VectorChannel):
            vectors = channel.item_vectors()[1:]
            table[wire.vector_of(channel.name)] = or_null(vectors, channel.trained[1:])
    return pd.DataFrame(table)


def or_null(vectors: Float32, known: Bools) -> list[Any]:
    """Rows of a table; null where the vector is not known."""
    rows = zip(vectors, known, strict=True)
    return [vector if is_known else None for vector, is_known in rows]


def channel_set(channels: Sequence[Channel], past: Sequences) -> ChannelSet:
    """Channels that compute something at a request: all but those with a stored vector for each user."""
    computing = [each for each in channels if not isinstance(each, StoredVectors)]
    return ChannelSet(past.item_numbers, tuple(computing))


if __name__ == "__main__":
    steps.run(main, about=__doc__)
