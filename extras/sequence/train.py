# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools[torch]==0.19.0", "pyarrow<21", "onnx", "onnxscript"]
# ///
"""Train a sequence model of RecTools and write it as a bundle of kind encoder.

Reads:  <folder>/settings.json, a `SequenceRecipe`; <folder>/{windows,events}.parquet: user, item, weight, oldest event
        first; windows are trained on, and for users of events lists are made
Writes: <folder>/{model.toml,items.parquet,encoder.onnx,expected.parquet,training.json}
Run:    by `extras.sequence.channel`, with extras/models/exporters on the path: uv run train.py <folder>
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import rectools
import torch
from encoder import write_encoder
from from_rectools_sequences import MODELS, UserVector
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from write import LISTED, lists_of, sample, vectors


class Epochs(Callback):
    """Prints and keeps each epoch's loss."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, model: LightningModule) -> None:
        self.losses.append(float(trainer.callback_metrics["train_loss"]))
        print(f"epoch {len(self.losses)} {self.losses[-1]:.4f}", flush=True)  # noqa: T201


def trainer(epochs: int) -> Trainer:
    quiet = {
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
    }
    return Trainer(
        max_epochs=epochs,
        deterministic=True,
        devices=1,
        callbacks=[Epochs()],
        **quiet,
    )


def dataset(path: Path) -> Dataset:
    """The events in their order in the file, which decides between those of one second."""
    table = pd.read_parquet(path).rename(columns={"user": "user_id", "item": "item_id"})
    return Dataset.construct(
        table.assign(datetime=pd.to_datetime(range(len(table)), unit="s"))
    )


def main(folder: Path) -> None:
    given = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    # the same sums on every machine; the steps fit two models at the same time
    torch.set_num_threads(1)
    seed_everything(given["seed"], verbose=False)
    settings = {**MODELS[given["model"]], "loss": "softmax"}
    model = SASRecModel(
        n_blocks=given["blocks"],
        n_heads=given["heads"],
        n_factors=given["dims"],
        session_max_len=given["history"],
        dropout_rate=given["dropout"],
        lr=given["learning_rate"],
        epochs=given["epochs"],
        batch_size=given["batch_size"],
        get_trainer_func=trainer,
        get_trainer_func_kwargs={"epochs": given["epochs"]},
        **settings,
    )
    print("start", flush=True)  # noqa: T201 (RecTools is there)
    model.fit(dataset(folder / "windows.parquet"))

    data = dataset(folder / "events.parquet")
    users = data.user_id_map.external_ids
    found = model.recommend(
        users[sample(users)],
        data,
        k=LISTED,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )
    net = model.torch_model.cpu().eval()
    of_items = net.item_model.get_all_embeddings().detach().numpy()[1:]  # 0 pads
    tables = {
        "items": vectors(model.data_preparator.get_known_item_ids(), of_items),
        "expected": lists_of(found),
    }
    library = f"rectools {rectools.__version__}"
    write_encoder(
        folder,
        given["name"],
        library,
        UserVector(net),
        given["history"],
        **tables,
    )
    (epochs,) = (
        each for each in model.fit_trainer.callbacks if isinstance(each, Epochs)
    )
    about = {"losses": epochs.losses, "seconds": round(time.process_time(), 1)}
    (folder / "training.json").write_text(json.dumps(about), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
