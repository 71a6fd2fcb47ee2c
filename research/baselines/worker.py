"""Trains one transformer of RecTools and recommends with it: runs in the environment of `rivals.environment`.

It knows nothing of this project: what it needs is in its job's folder, and what it makes goes there. An epoch is kept
as soon as it is over, and ended work goes on from there.

Reads:  job.json (`model`, `setting`, `size`), events.npz (events of all users, and how many of them each one's request
        sees, when it comes)
Writes: last.ckpt and progress.json after each epoch; lists.npz (`lists`: (users, size) codes, 0 pads) at the end
Run:    python worker.py <folder>
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import HSTUModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.base import TransformerModelBase
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.ligr import LiGRLayers
from rectools.models.nn.transformers.negative_sampler import TransformerNegativeSamplerBase
from rectools.models.nn.transformers.similarity import DistanceSimilarityModule

WARM = 0.03  # share of the steps in which the learning rate rises
AT_ONCE = 32  # sequences at a time, whatever the batch: all the memory that a small machine can spare


class Annealed(TransformerLightningModule):
    """RecTools' module with a learning rate that rises first and then falls to nothing, as half a cosine."""

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.torch_model.parameters(), lr=self.lr, betas=self.adam_betas)
        steps = int(self.trainer.estimated_stepping_batches)

        def share(step: int) -> float:
            warm = max(1, round(WARM * steps))
            return min(step + 1, warm) / warm * (1 + math.cos(math.pi * min(step / steps, 1))) / 2

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, share), "interval": "step"},
        }


class SharedNegatives(TransformerNegativeSamplerBase):
    """Draws items once for all places of a batch, where RecTools draws them for each: as many cost a fraction."""

    def get_negatives(
        self, batch_dict: dict[str, torch.Tensor], lowest_id: int, highest_id: int, session_len_limit: int | None = None
    ) -> torch.Tensor:
        users, length = batch_dict["x"].shape
        drawn = torch.randint(lowest_id, highest_id, (self.n_negatives,))
        return drawn.expand(users, session_len_limit or length, self.n_negatives)


class SharedSimilarity(DistanceSimilarityModule):
    """Scores the target of each place, and the negatives that all places share, as one product of matrices.

    The negatives' scores are summed up at once: a softmax over a target and the log-sum-exp of the others is the one
    over them all, and the scores, of which there are a thousand a place, are passed over a few times less.
    """

    def __init__(self, temperature: float, **kwargs: Any) -> None:
        """``temperature``: by which RecTools divides the logits that it is given."""
        super().__init__(**kwargs)
        self.temperature = temperature

    def _get_pos_neg_logits(
        self, session_embs: torch.Tensor, item_embs: torch.Tensor, candidate_item_ids: torch.Tensor
    ) -> torch.Tensor:
        """(users, length, 2): the target's, and the log-sum-exp of the negatives'."""
        target = (item_embs[candidate_item_ids[:, :, 0]] * session_embs).sum(dim=-1)
        negatives = (session_embs / self.temperature) @ item_embs[candidate_item_ids[0, 0, 1:]].T
        return torch.stack([target, negatives.logsumexp(dim=-1) * self.temperature], dim=-1)


class Kept(lightning.Callback):
    """Keeps every epoch, and says that it is over."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs, self.since = folder, epochs, time.perf_counter()
        self.file, self.checkpoint = folder / "progress.json", folder / "last.ckpt"
        self.past: dict[str, Any] = {"losses": [], "seconds": 0.0}
        if self.file.is_file() and self.checkpoint.is_file():
            self.past = json.loads(self.file.read_text(encoding="utf-8"))

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        now = time.perf_counter()
        losses = [*self.past["losses"], float(trainer.callback_metrics["train_loss"])]
        self.past = {"losses": losses, "seconds": self.past["seconds"] + now - self.since}
        self.since = now
        _replaced(self.checkpoint, trainer.save_checkpoint)
        _replaced(self.file, lambda path: path.write_text(json.dumps(self.past), encoding="utf-8"))
        gone = self.past["seconds"] / 60
        left = gone / len(losses) * (self.epochs - len(losses))
        said = f"epoch {len(losses)} of {self.epochs}: loss {losses[-1]:.4f}, {gone:.0f} min gone, {left:.0f} to go"
        print(said, flush=True)  # noqa: T201 (the progress that a person waits for)


def _save(made: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, lists=made)


def _replaced(path: Path, write: Callable[[Path], Any]) -> None:
    part = path.with_name(f".{path.name}")
    write(part)
    part.replace(path)


def model(kind: str, setting: dict[str, Any], trainer: Any) -> TransformerModelBase:
    """An untrained one."""
    common = {
        "n_blocks": setting["blocks"],
        "n_heads": setting["heads"],
        "n_factors": setting["dim"],
        "dropout_rate": setting["dropout"],
        "session_max_len": setting["length"],
        "loss": setting["loss"],
        "n_negatives": setting["negatives"],
        "lr": setting["learning_rate"],
        "batch_size": min(AT_ONCE, setting["batch_size"]),
        "epochs": setting["epochs"],
        "item_net_block_types": (IdEmbeddingsItemNet,),
        "lightning_module_type": Annealed,
        "negative_sampler_type": SharedNegatives,
        "similarity_module_type": SharedSimilarity,
        "similarity_module_kwargs": {"temperature": setting["temperature"]},
        "lightning_module_kwargs": {"logits_t": setting["temperature"]},
        "get_trainer_func": trainer,
    }
    if kind == "HSTU":
        return HSTUModel(relative_time_attention=True, relative_pos_attention=True, **common)
    return SASRecModel(transformer_layers_type=LiGRLayers, **common)


def interactions(events: dict[str, np.ndarray], targets: str) -> pd.DataFrame:
    """RecTools' table: events that are not targets have no weight in the loss, and are in the histories."""
    weight = events["liked"] if targets == "liked" else np.ones(len(events["users"]))
    return pd.DataFrame(
        {
            Columns.User: events["users"],
            Columns.Item: events["items"],
            Columns.Weight: weight.astype(np.float32),
            Columns.Datetime: pd.to_datetime(events["times"], unit="s").astype("datetime64[ns]"),
        }
    )


def fitted(folder: Path, job: dict[str, Any], dataset: Dataset) -> TransformerModelBase:
    """Trained from its last kept epoch on."""
    setting = job["setting"]
    lightning.seed_everything(setting["seed"])
    kept = Kept(folder, setting["epochs"])

    def trainer() -> lightning.Trainer:
        return lightning.Trainer(
            max_epochs=setting["epochs"],
            accumulate_grad_batches=max(1, setting["batch_size"] // AT_ONCE),
            callbacks=[kept],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="auto",
            devices=1,
        )

    found = model(job["model"], setting, trainer)
    found._build_model_from_dataset(dataset)
    found.fit_trainer = trainer()
    again = kept.checkpoint if kept.past["losses"] else None
    found.lightning_model.is_fitted = again is not None  # else its weights are initialised again
    found.fit_trainer.fit(found.lightning_model, found.data_preparator.get_dataloader_train(), ckpt_path=again)
    found.is_fitted = True
    return found


def lists(found: TransformerModelBase, events: dict[str, np.ndarray], table: pd.DataFrame, size: int) -> np.ndarray:
    """(users, size) of what each request sees."""
    known, times = events["known"], events["request_times"]
    position = np.arange(len(table)) - np.repeat(events["starts"][:-1], np.diff(events["starts"]))
    seen = table[position < known[events["users"]]]
    asked = np.unique(seen[Columns.User])
    context = pd.DataFrame({Columns.User: asked, Columns.Datetime: pd.to_datetime(times[asked], unit="s")})
    context[Columns.Datetime] = context[Columns.Datetime].astype("datetime64[ns]")
    context[Columns.Weight] = 1.0
    given = {"context": context} if found.require_recommend_context else {}
    shown = found.recommend(asked, Dataset.construct(seen), k=size, filter_viewed=True, **given)
    out = np.zeros((len(known), size), dtype=np.int64)
    out[shown[Columns.User], shown[Columns.Rank] - 1] = shown[Columns.Item]
    return out


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "events.npz") as file:
        events = dict(file)
    events["users"] = np.repeat(np.arange(len(events["known"])), np.diff(events["starts"]))
    table = interactions(events, job["setting"]["targets"])
    found = fitted(folder, job, Dataset.construct(table))
    made = lists(found, events, table, job["size"])
    _replaced(folder / "lists.npz", partial(_save, made))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    main(Path(sys.argv[1]))
