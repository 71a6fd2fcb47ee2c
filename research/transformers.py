"""Transformers as baselines, trained until validation stops rising: ``make baselines``.

Own small implementations of eSASRec (LiGR layers and a sampled softmax, Tikhonovich et al. 2025) and HSTU (pointwise
attention with relative positions and times, Zhai et al. 2024; with the time of the request or without), in the setting
that the papers give for MovieLens-1M. They are fitted as the papers do, in the protocol of `research.next_item`: every
rating is a target, the last two of each user are held out, and the last but one is the validation. The learning rate
is halved where NDCG@10 there has not risen for three epochs; after ten the training ends. Each epoch is kept, and an
interrupted training resumes.

Reads:  offline/{ratings,items,users}.parquet
Writes: offline/baselines/<model>.pt in the exchange folder
Run:    python -m research.transformers [--only <model> ...]
Expect: half an hour a model on one core of MovieLens-1M; `make evaluate-papers` evaluates what there is
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, scaled_dot_product_attention, silu

from data_exchange_center.files import written_in_place
from data_exchange_center.fusion import top_k
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress, run
from offline.data.requests import Points, seen_before
from offline.data.sequences import Ints, Sequences
from offline.evaluation.metrics import Lists
from research.next_item import every_rating, from_the_end, measured, requests

log = logging.getLogger(__name__)

LENGTH: Final = 200  # newest events that a model looks at
BATCH: Final = 32  # users
AT_ONCE: Final = 256  # requests that are answered at a time
SLOWER_AFTER, OVER_AFTER = 3, 10  # epochs without a rise of the validation


@dataclass(frozen=True)
class Transformer:
    """Settings of a model."""

    name: str
    kind: str  # of the layers: ligr, hstu
    clock: bool = False  # whether the model sees the times of the targets, and of the request
    dim: int = 64
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.1
    negatives: int = 1024  # shared by the targets of a batch
    temperature: float = 1.0  # of the softmax; other than 1: of cosines
    learning_rate: float = 1e-3
    seed: int = 0


MODELS: Final = (
    Transformer("eSASRec", "ligr"),
    Transformer("HSTU, 2 blocks, with the request's time", "hstu", clock=True, dropout=0.2, temperature=0.05),
    Transformer("HSTU, 2 blocks", "hstu", dropout=0.2, temperature=0.05),
)


# --- Layers


class LiGR(nn.Module):
    """Causal self-attention and a gated feed-forward net, each of the normalized input and added through a gate."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        dim = model.dim
        self.heads, self.dropout = model.heads, nn.Dropout(model.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.qkv, self.mixed = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 8 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        """(m, n, dim) -> (m, n, dim)."""
        m, n, dim = x.shape
        qkv = self.qkv(self.norms[0](x)).view(m, n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (m, heads, n, dim / heads) each
        attended = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(m, n, dim)
        x = x + self.dropout(torch.sigmoid(self.gates[0](x)) * self.mixed(attended))
        gate, value = self.up(self.norms[1](x)).chunk(2, dim=-1)
        added: Tensor = torch.sigmoid(self.gates[1](x)) * self.down(self.dropout(silu(gate) * value))
        out: Tensor = x + self.dropout(added)
        return out


class HSTU(nn.Module):
    """Pointwise attention: SiLU instead of a softmax, biased by how many events and how much time lie between."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        dim = model.dim
        self.heads, self.dropout = model.heads, nn.Dropout(model.dropout)
        self.norm, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.uvqk, self.mixed = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(dim, dim)
        self.by_lag = nn.Parameter(torch.randn(model.heads, LENGTH) * 0.02)
        self.by_age = nn.Embedding(AGES, model.heads)
        nn.init.normal_(self.by_age.weight, std=0.02)

    def forward(self, x: Tensor, ages: Tensor) -> Tensor:
        """(m, n, dim), (m, n, n) buckets of `bucketed` -> (m, n, dim)."""
        m, n, dim = x.shape
        uvqk = silu(self.uvqk(self.norm(x))).view(m, n, 4, self.heads, -1)
        u, v, q, k = uvqk.permute(2, 0, 3, 1, 4)  # (m, heads, n, dim / heads) each
        place = torch.arange(n)
        lags = place[:, None] - place  # (n, n)
        bias = self.by_lag[:, lags.clamp(min=0)] + self.by_age(ages).permute(0, 3, 1, 2)
        weights = silu(q @ k.transpose(2, 3) + bias) * ((lags >= 0) / LENGTH)  # (m, heads, n, n)
        attended = self.norm_out((weights @ v).transpose(1, 2).reshape(m, n, dim))
        added: Tensor = self.mixed(self.dropout(u.transpose(1, 2).reshape(m, n, dim) * attended))
        return x + added


AGES: Final = 64


def bucketed(seconds: Tensor) -> Tensor:
    """Seconds, any shape -> number of a bucket, each a third longer than the one before."""
    return (seconds.abs().clamp(min=1).float().log() / 0.301).long().clamp(max=AGES - 1)


# --- A model


class Window(NamedTuple):
    """Newest events of m users, oldest first, padded with 0 on the right."""

    items: Tensor  # (m, n) codes
    times: Tensor  # (m, n) seconds
    asked: Tensor  # (m, n) seconds of the request after each event


class Network(nn.Module):
    """Embedded items and places, blocks, and what comes next as a softmax over items."""

    def __init__(self, model: Transformer, items: int) -> None:
        super().__init__()
        self.model = model
        self.item, self.place = nn.Embedding(items + 1, model.dim), nn.Embedding(LENGTH, model.dim)
        for table in (self.item, self.place):
            nn.init.normal_(table.weight, std=0.02)
        self.dropout, self.norm = nn.Dropout(model.dropout), nn.LayerNorm(model.dim)
        layer = {"ligr": LiGR, "hstu": HSTU}[model.kind]
        self.blocks = nn.ModuleList(layer(model) for _ in range(model.blocks))

    def forward(self, window: Window) -> Tensor:
        """(m, n, dim): after each event, what comes next."""
        items, times, asked = window
        there = items > 0
        places = (there.sum(dim=1, keepdim=True) - 1 - torch.arange(items.shape[1])).clamp(min=0)  # 0: the newest
        x = self.dropout(self.item(items) * self.model.dim**0.5 + self.place(places))
        ages = bucketed(asked[:, :, None] - times[:, None, :]) if self.model.kind == "hstu" else places
        for block in self.blocks:
            x = block(x, ages)
        out: Tensor = self.norm(x)
        return out

    def scaled(self, vectors: Tensor) -> Tensor:
        """Outputs or items, (..., dim), so that their products are logits: with a temperature, those of cosines."""
        temperature = self.model.temperature
        return vectors if temperature == 1 else normalize(vectors, dim=-1) / temperature**0.5

    def loss(self, window: Window, targets: Tensor) -> Tensor:
        """Sampled softmax: cross-entropy of each target against negatives drawn evenly, mean over the targets.

        ``targets``: (m, n), 0 where there is none.
        """
        there = targets > 0
        outputs, wanted = self.scaled(self(window)[there]), targets[there]  # (k, dim), (k,)
        drawn = torch.randint(1, self.item.num_embeddings, (self.model.negatives,))
        of_target = (outputs * self.scaled(self.item(wanted))).sum(dim=1, keepdim=True)  # (k, 1)
        others = (outputs @ self.scaled(self.item(drawn)).T).masked_fill(drawn == wanted[:, None], -torch.inf)
        return cross_entropy(torch.cat([of_target, others], dim=1), torch.zeros(len(wanted), dtype=torch.long))


def window(data: Sequences, users: Ints, positions: Ints, clock: bool, asked: Ints) -> Window:
    """Newest events before each position. ``asked``: (m,) seconds of the request after the newest."""
    lengths = np.minimum(positions, LENGTH)
    width = int(lengths.max(initial=1))
    items, _, times = data.histories_at(users, positions, width)  # newest first
    order = (lengths[:, None] - 1 - np.arange(width)) % width  # oldest first, what is padded stays behind
    items, times = (np.take_along_axis(each, order, axis=1) for each in (items, times))
    after = times.copy()
    if clock:
        after[:, :-1] = times[:, 1:]
        after[np.arange(len(users)), lengths - 1] = asked
    return Window(*map(torch.from_numpy, (items, times, after)))


def lists(network: Network, data: Sequences, points: Points, size: int = 200) -> Lists:
    """(m, size) codes, best first, of every request; nothing that it knows as rated."""
    network.eval()
    out = np.zeros((len(points), size), dtype=np.int64)
    order = np.argsort(points.positions, kind="stable")
    with torch.inference_mode():
        items = network.scaled(network.item.weight)
        for start in range(0, len(points), AT_ONCE):
            index = order[start : start + AT_ONCE]
            part = points.take(index)
            seen = window(data, part.users, part.positions, network.model.clock, part.times)
            newest = torch.from_numpy(np.minimum(part.positions, LENGTH) - 1)
            scores = (network.scaled(network(seen)[torch.arange(len(part)), newest]) @ items.T).numpy()
            for row, hits in zip(index, top_k(scores, size, *seen_before(data, part)), strict=True):
                out[row, : len(hits.ids)] = hits.ids
    return out


# --- Training


@dataclass
class Training:
    """A training so far. Each epoch: loss, NDCG@10 on the validation, and processor seconds of training."""

    network: Network
    optimizer: torch.optim.Optimizer
    epochs: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the epoch with the highest NDCG@10

    @classmethod
    def begun(cls, model: Transformer, items: int) -> Training:
        torch.manual_seed(model.seed)
        network = Network(model, items)
        return cls(network, torch.optim.Adam(network.parameters(), lr=model.learning_rate, betas=(0.9, 0.98)))

    @classmethod
    def kept(cls, model: Transformer, items: int, path: Path) -> Training:
        """Resume from a file, or begin where there is none."""
        found = cls.begun(model, items)
        if path.is_file():
            state = torch.load(path, weights_only=True)
            found.network.load_state_dict(state["network"])
            found.optimizer.load_state_dict(state["optimizer"])
            found.epochs, found.best = state["epochs"], state["best"]
            torch.set_rng_state(state["random"])
        return found

    def keep(self, path: Path) -> None:
        states = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_in_place(path) as temporary:
            torch.save({**states, "epochs": self.epochs, "best": self.best, "random": torch.get_rng_state()}, temporary)

    @property
    def without_a_rise(self) -> int:
        """Epochs since the best one."""
        values = [epoch["ndcg@10"] for epoch in self.epochs]
        return len(values) - 1 - int(np.argmax(values)) if values else 0

    @property
    def over(self) -> bool:
        return self.without_a_rise >= OVER_AFTER

    def best_network(self) -> Network:
        self.network.load_state_dict(self.best)
        return self.network.eval()

    def epoch(self, data: Sequences) -> float:
        """Train once on everybody's newest `LENGTH` + 1 events; the mean loss."""
        self.network.train()
        losses = []
        for users in progress(list(batches(data.lengths, len(self.epochs))), desc="epoch", unit="batch", leave=False):
            lengths = data.lengths[users]
            last = data.items[data.starts[users] + lengths - 1], data.times[data.starts[users] + lengths - 1]
            seen = window(data, users, lengths - 1, self.network.model.clock, last[1])
            targets = torch.zeros_like(seen.items)
            targets[:, :-1] = seen.items[:, 1:]
            newest = torch.from_numpy(np.minimum(lengths - 1, LENGTH) - 1)
            targets[torch.arange(len(users)), newest] = torch.from_numpy(last[0])
            loss = self.network.loss(seen, targets)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))


def batches(lengths: Ints, epoch: int) -> Iterator[Ints]:
    """Users with two events and more in random batches of about equal lengths: padding costs as much as events."""
    rng = np.random.default_rng(epoch)
    users = np.flatnonzero(lengths > 1)
    near = np.minimum(lengths[users], LENGTH) * rng.uniform(0.9, 1.1, len(users))
    parts = np.array_split(users[np.argsort(near)], max(len(users) // BATCH, 1))
    for n in rng.permutation(len(parts)):
        yield parts[n]


def train(model: Transformer, data: Sequences, path: Path) -> Training:
    """Train on all but the last two events of each user, until NDCG@10 of the last but one no longer rises."""
    past, validation = data.before_last(2), from_the_end(data, 2)
    wanted, points = data.items[validation], requests(data, validation, model.clock)
    training = Training.kept(model, data.n_items, path)
    while not training.over:
        begin = time.process_time()
        loss = training.epoch(past)
        seconds = time.process_time() - begin
        reached = measured(lists(training.network, data, points), wanted)["ndcg@10"]
        training.epochs.append({"loss": loss, "ndcg@10": reached, "seconds": round(seconds, 1)})
        if not training.without_a_rise:
            training.best = {name: value.clone() for name, value in training.network.state_dict().items()}
        elif training.without_a_rise % SLOWER_AFTER == 0:
            for group in training.optimizer.param_groups:
                group["lr"] /= 2
        training.keep(path)
        log.info(
            "%s, epoch %d: loss %.4f, NDCG@10 %.4f, %.0f s", model.name, len(training.epochs), loss, reached, seconds
        )
    return training


def checkpoint(settings: Settings, model: Transformer) -> Path:
    return settings.offline_dir / "baselines" / f"{model.name.replace(',', '').replace(' ', '_')}.pt"


def main(settings: Settings, only: Sequence[str]) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    data = every_rating(settings).data
    for model in MODELS:
        if not only or model.name in only:
            train(model, data, checkpoint(settings, model))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [model.name for model in MODELS]
    parser.add_argument("--only", action="append", default=[], choices=names, help="may be repeated")
    only = parser.parse_args().only
    run(lambda settings: main(settings, only))
