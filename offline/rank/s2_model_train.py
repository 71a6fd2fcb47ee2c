"""Step 6: the ranking model, a DeepFM.

In industry: a model of this family, trained on yesterday's log. Here the project's variant: a sparse FM with wider
factors for the ids (16) than for the side fields (2), plus an MLP over the dense columns.

It is trained twice: without the validation part of the training rows, to see how it does, then on all of them. The
recipe's epochs and settings were chosen on validation, never on test.

Reads:  offline/feature_spec.json, offline/samples.parquet, offline/ratings.parquet
Writes: offline/deepfm.pt, offline/deepfm_report.json
Run:    cd offline/rank && python s2_model_train.py
Expect: test AUC at least 0.8206 (MovieLens-1M)
"""

from __future__ import annotations

import numpy as np
import torch

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import FeatureSpec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import published
from offline.data.split import validation_mask
from offline.torchfm.fit import fit
from offline.torchfm.models import DeepFM, DeepFMConfig, weights_to_bytes
from offline.torchfm.train import Rows


def main(settings: Settings) -> None:
    folder, recipe = settings.exchange_dir, settings.recipe
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(folder))
    train, test, held_out = load_samples(settings, spec)
    config = DeepFMConfig.of(spec, recipe.deepfm)

    fitted = fit(lambda: DeepFM(config), train, held_out, test, recipe.deepfm.train, "DeepFM")
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(fitted.model))
    report = {"model": config.model_dump(mode="json"), "train": recipe.deepfm.train.model_dump(), **fitted.report()}
    artifacts.RANK_REPORT.write(folder, report)
    print(fitted.summary("DeepFM"))
    dataset = artifacts.DATASET.read(folder)["name"]
    published.expect_auc(dataset, "DeepFM", fitted.auc["test"], published.ML_1M_DEEPFM_AUC)


def load_samples(settings: Settings, spec: FeatureSpec) -> tuple[Rows, Rows, np.ndarray]:
    """Training rows, test rows, and which of the training rows are for validation."""
    folder = settings.exchange_dir
    samples = artifacts.SAMPLES.read(folder)
    inputs = samples[list(spec.columns)].to_numpy(np.float32)
    labels = samples[Columns.LABEL].to_numpy(np.float32)
    is_train = (samples[Columns.SPLIT] == Split.TRAIN).to_numpy()
    ratings = artifacts.RATINGS.read(folder, [Columns.USER, Columns.SPLIT])
    users = ratings.loc[ratings[Columns.SPLIT] == Split.TRAIN, Columns.USER]
    train, test = (
        Rows(torch.from_numpy(inputs[mask]), torch.from_numpy(labels[mask])) for mask in (is_train, ~is_train)
    )
    return train, test, validation_mask(users, settings.recipe.data.validation_share)


if __name__ == "__main__":
    run(main)
