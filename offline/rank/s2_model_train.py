"""Step 6: train the ranking model, by its kind.

In industry: a model trained on yesterday's log, of what was shown and what was clicked.

Recipe source: a DeepFM in the project's variant: a sparse FM with wider factors for the ids (16) than for the side
fields (2), plus an MLP over the dense columns. It is trained twice: without the validation part of the training rows,
to see how it does, then on all of them. Epochs and settings were chosen on validation, never on test.
Recipe default: a ranker of lists. A small MLP reads each candidate's similarities to the user's last events, counts and
recall's own scores; its loss is the softmax over a list. In training its tables of items are fitted on the teachers'
part of the past; afterwards they are replaced by tables fitted on everything before the holdout.

Reads:  offline/feature_spec.json, offline/ratings.parquet; source: offline/samples.parquet;
        default: offline/raw/dataset.json, offline/{lists,teacher_channels,channels}.npz, offline/{users,items}.parquet
Writes: offline/ranker.pt, offline/ranker_report.json
Run:    cd offline/rank && python s2_model_train.py
Expect: source: test AUC about 0.822, asserted to be at least 0.8206; default: a loss that falls (MovieLens-1M)
"""

from __future__ import annotations

from typing import Any

from torch import nn

from data_exchange_center import artifacts, provenance
from data_exchange_center.channels import ChannelSet
from data_exchange_center.recipes import DeepFMRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline import published
from offline.data.lists import Lists
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.served import weights_to_bytes
from offline.readers import read_inputs, read_samples
from offline.training import ranking
from offline.training.fit import curves, fit
from offline.training.rows import pairs_data


def main(settings: Settings) -> None:
    folder, kind = settings.exchange_dir, settings.recipe.ranker.kind
    kinds = {"deepfm": on_rated_pairs, "list": on_recalled_lists}
    model, report = kinds[kind](settings)
    published.expect_learned(artifacts.DATASET.read(folder)["name"], kind, report)
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(model))
    artifacts.RANK_REPORT.write(folder, report)
    print(f"{kind}{published.summary(report)}")


def on_rated_pairs(settings: Settings) -> tuple[nn.Module, dict[str, Any]]:
    """The DeepFM and its report."""
    folder, recipe = settings.exchange_dir, settings.recipe.ranker
    assert isinstance(recipe, DeepFMRecipe)  # noqa: S101
    read = provenance.made_from(folder, settings.recipe, provenance.RANKER)
    inputs, ratings, spec = read_samples(settings)
    data = pairs_data(inputs, ratings, settings.recipe.data.validation_share)
    config = DeepFMConfig.of(spec, recipe)
    fitted = fit(lambda: DeepFM(config), data, recipe.train, "DeepFM")
    return fitted.model, {
        "model": config.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        **fitted.report(),
        **read,
    }


def on_recalled_lists(settings: Settings) -> tuple[nn.Module, dict[str, Any]]:
    """The list ranker and its report."""
    folder, recipe = settings.exchange_dir, settings.recipe
    read = provenance.made_from(folder, recipe, provenance.RANKER)
    inputs, spec = read_inputs(settings), read_feature_spec(folder)
    teachers = artifacts.TEACHER_CHANNELS.read_as(folder, ChannelSet.unpack).channels
    channels = artifacts.CHANNELS.read_as(folder, ChannelSet.unpack).channels
    lists = artifacts.LISTS.read_as(folder, Lists.unpack)
    model, losses = ranking.fit_list_ranker(inputs.data, inputs, recipe, spec, teachers, channels, lists)
    return model, {
        "model": model.config.model_dump(mode="json"),
        "recipe": recipe.ranker.model_dump(mode="json"),
        **curves(losses),
        "lists": len(lists),
        **read,
    }


if __name__ == "__main__":
    run(main)
