"""Step 6: train the ranking model.

In industry: a model trained on yesterday's log, of what was shown and what was clicked.

Recipe source: a DeepFM in the project's variant: a sparse FM with wider factors for the ids (16) than for the side
fields (2), plus an MLP over the dense columns. It is trained twice: without the validation part of the training rows,
to see how it does, then on all of them. Epochs and settings were chosen on validation, never on test.
Recipe default: a ranker of lists. A small MLP reads each candidate's similarities to the user's last events, counts and
recall's own scores; its loss is the softmax over a list. In training its tables of items are fitted on the same part
of the past as the training channels; afterwards they are replaced by tables fitted on everything before the holdout.

Reads:  offline/feature_spec.json, offline/ratings.parquet; source: offline/samples.parquet;
        default: offline/raw/dataset.json, offline/{training_channels,channels}.npz,
        offline/{lists,users,items}.parquet
Writes: offline/ranker.pt, offline/ranker_report.json
Run:    cd offline/rank && python s2_model_train.py
Expect: source: test AUC about 0.822; default: a loss that falls (MovieLens-1M)
"""

import numpy as np

from data_exchange_center import artifacts, provenance, release_parts, steps
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline.data import lists, statistics
from offline.models import pair_training, training
from offline.models.kinds import ListExamples, PairExamples
from offline.models.rankers import ranker_class, weights_to_bytes
from offline.readers import read_inputs, read_lists, read_past_ratings


def main(settings: Settings) -> None:
    folder, recipe = settings.artifacts_dir, settings.recipe.ranker
    read = provenance.made_from(folder, settings.recipe, provenance.RANKER)
    read_examples = {"pairs": read_pair_examples, "lists": read_list_examples}
    examples = read_examples[recipe.examples](settings)

    network = ranker_class(recipe.kind)  # `ListRanker`, `DeepFM` or another package's
    fitted = network.fit(recipe, examples)

    report = {
        "model": fitted.config,
        "recipe": recipe.model_dump(mode="json"),
        **fitted.report,
        **read,
    }
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(fitted.network))
    artifacts.RANK_REPORT.write(folder, report)
    print(provenance.RANKER.account(folder, settings.recipe))
    print(f"{recipe.kind}{training.summary(report)}")


def read_pair_examples(settings: Settings) -> PairExamples:
    """Read step 5's rated pairs."""
    folder, share = settings.artifacts_dir, settings.recipe.data.validation_share
    spec = release_parts.read_feature_spec(folder)
    samples = artifacts.SAMPLES.read(folder)
    inputs = samples[list(spec.columns)].to_numpy(np.float32)  # (rows, spec.width)
    ratings = read_past_ratings(settings, [Columns.USER, Columns.SPLIT])
    samples[Columns.USER] = ratings[Columns.USER]
    data = pair_training.pairs_data(inputs, samples, share)
    return PairExamples(spec, release_parts.read_dataset(folder), data)


def read_list_examples(settings: Settings) -> ListExamples:
    """Read step 5's training lists for a ranker of lists. Raises StepError when the statistics have changed since."""
    folder = settings.artifacts_dir
    inputs = read_inputs(settings)
    spec = release_parts.read_feature_spec(folder)
    if spec != statistics.list_spec(
        inputs, settings.recipe, lists.ranker_of_lists(settings.recipe)
    ):
        raise steps.StepError(
            "feature_spec.json does not have the columns that offline/data/statistics.py and the recipe name now: run "
            "offline/rank/s1_feature_engi.py again."
        )
    return ListExamples(
        past=inputs.data,
        inputs=inputs,
        spec=spec,
        training_channels=artifacts.TRAINING_CHANNELS.read_as(
            folder, unpack_channels
        ).channels,
        channels=release_parts.read_channels(folder).channels,
        lists=read_lists(settings, inputs.data),
    )


if __name__ == "__main__":
    steps.run(main, about=__doc__)
