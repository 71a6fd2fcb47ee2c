"""Step 6: the ranking model, a DeepFM.

In industry: a model of this family, trained on yesterday's log. Here the project's variant: a sparse FM with wider
factors for the ids (16) than for the side fields (2), plus an MLP over the dense columns.

It is trained twice: without the validation part of the training rows, to see how it does, then on all of them. The
recipe's epochs and settings were chosen on validation, never on test.

Reads:  offline/feature_spec.json, offline/samples.parquet, offline/ratings.parquet
Writes: offline/deepfm.pt, offline/deepfm_report.json
Run:    cd offline/rank && python s2_model_train.py
Expect: test AUC about 0.822, asserted to be at least 0.8206 (MovieLens-1M)
"""

from __future__ import annotations

from data_exchange_center import artifacts, provenance
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import published, training
from offline.torchfm.fit import fit
from offline.torchfm.models import DeepFM, DeepFMConfig, weights_to_bytes


def main(settings: Settings) -> None:
    folder, recipe = settings.exchange_dir, settings.recipe.deepfm
    read = provenance.inputs_of(folder, artifacts.FEATURE_SPEC, artifacts.SAMPLES, artifacts.RATINGS)
    data, spec = training.ranker_data(settings)
    config = DeepFMConfig.of(spec, recipe)
    fitted = fit(lambda: DeepFM(config), data, recipe.train, "DeepFM")
    dataset = artifacts.DATASET.read(folder)["name"]
    published.expect_auc(dataset, "DeepFM", fitted.auc["test"], published.ML_1M_DEEPFM_AUC)

    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(fitted.model))
    report = {"model": config.model_dump(mode="json"), "train": recipe.train.model_dump(), **fitted.report(), **read}
    artifacts.RANK_REPORT.write(folder, report)
    print(fitted.summary("DeepFM"))


if __name__ == "__main__":
    run(main)
