"""Step 4: fit the recall channels, each by its kind, and export their vectors.

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

from data_exchange_center import artifacts, provenance, steps
from data_exchange_center.settings import Settings
from offline.models import kinds, training
from offline.readers import InputsReader, read_inputs


def main(settings: Settings, read_inputs: InputsReader = read_inputs) -> None:
    folder, recipe = settings.artifacts_dir, settings.recipe
    read = provenance.made_from(folder, recipe, provenance.VECTOR_RECALL)
    inputs = read_inputs(settings)
    past = inputs.data
    fitted = kinds.fit_channels(past, inputs, recipe)
    served = [one.channel for one in fitted]
    user_vectors, item_vectors = kinds.vector_tables(served, past)
    artifacts.USER_VECTORS.write(folder, user_vectors)
    artifacts.ITEM_VECTORS.write(folder, item_vectors)
    artifacts.CHANNELS.write(folder, kinds.channel_set(served, past).pack())
    reports = {one.channel.name: one.report for one in fitted}
    artifacts.RECALL_REPORT.write(folder, {"channels": reports, **read})
    for one in fitted:
        print(f"{one.channel.name}: {one}{training.summary(one.report)}")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
