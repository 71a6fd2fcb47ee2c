"""How lists are made diverse, and how much of that costs 1 % of the NDCG: ``make tune-diversity``.

On the ten ratings before the last ten, with models fitted on what precedes those: ways to re-rank the ranker's list,
and what similarity is made of, each at several strengths. For each is told what it gives where it costs 1 % of the
NDCG; of the one that is served, the largest strength that costs less.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/tune_diversity.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.diversity
Expect: a quarter of an hour on MovieLens-1M
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center.channels import Channel, VectorChannel
from data_exchange_center.features import Float32
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress, run
from extras.diversity.diversity import rarity
from offline.data.sequences import Ints, Sequences
from offline.evaluation.evaluate import head, write
from offline.evaluation.metrics import Floats, Lists, normalised
from offline.evaluation.replay import Holdout
from offline.evaluation.report import plain
from offline.models.stages import fit_stages, ranker_of_lists
from offline.models.training import ranked
from research.experiments.fitted import CHOSEN_ON, EvalRequests, before_the_last
from research.experiments.rerankers import (
    Listed,
    Reranker,
    calibrated,
    determinantal,
    largest_similarity,
    mean_similarity,
    rare_first,
    served,
)
from research.measure.list_diversity import COST, NDCG, K, Kinds, lost, measures, summary

SIZE = 75  # shown: more than `K`, as what is neither known nor a target is taken off
SERVED = "similarity and rarity"
RANKED = "as ranked"
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
FEW = (0.05, 0.1, 0.15, 0.2, 0.3)
RARE = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The ranker's lists of all requests, and what is known of the items and users."""

    requests: EvalRequests
    codes: Ints  # (requests, candidates), 0 pads
    kinds: Kinds

    def listed(self, rows: Float32) -> Iterator[Listed]:
        """Every request's."""
        holdout, flags = self.requests.holdout, self.kinds.flags.astype(np.float64)
        shares = flags / np.maximum(flags.sum(axis=1, keepdims=True), 1)
        wanted = np.nan_to_num(normalised(np.asarray(holdout.known.seen() @ shares)))
        rarities = rarity(likers(holdout.past))
        for user, codes in zip(self.requests.points.users, self.codes, strict=True):
            there = codes[codes > 0]
            yield Listed(rows[there], shares[there], wanted[user], rarities[there])

    def reranked(self, rerank: Reranker, rows: Float32, strength: float) -> Lists:
        """(users, `SIZE`)."""
        orders = (
            codes[codes > 0][rerank(listed, strength, SIZE)]
            for codes, listed in zip(self.codes, self.listed(rows), strict=True)
        )
        return self.requests.lists(orders, SIZE)


def likers(past: Sequences) -> Floats:
    """(items + 1,) share of the users who like an item, as the popular list has it."""
    return np.asarray(past.select(past.liked).seen().sum(axis=0)).ravel() / max(past.n_users, 1)


def ways(kinds: Kinds) -> dict[str, tuple[Reranker, Float32, tuple[float, ...]]]:
    """Name -> how lists are re-ranked, what says how alike items are, strengths."""
    rows = kinds.rows()
    return {
        SERVED: (served, rows, STRENGTHS),
        f"{SERVED}, by vectors alone": (served, kinds.rows(by_genres=False), FEW),
        f"{SERVED}, by genres alone": (served, kinds.rows(by_vectors=False), FEW),
        "mean similarity": (mean_similarity, rows, FEW),
        "largest similarity (MMR)": (largest_similarity, rows, FEW),
        "determinants (DPP)": (determinantal, rows, FEW),
        "calibrated genres": (calibrated, rows, FEW),
        "rare items": (rare_first, rows, RARE),
    }


def measure(settings: Settings, recipe: Recipe) -> dict[str, Any]:
    """Every way at every strength, what each gives for 1 % of the NDCG, and the strength that is recommended."""
    requests = before_the_last(settings)
    holdout, inputs = requests.holdout, requests.inputs
    stages = fit_stages(holdout.past, inputs, recipe)
    recalled = requests.recalled(stages.channels, recipe, recipe.recall.candidates)
    codes = ranked(stages.ranker, recalled, stages.stored)
    ranking = Ranking(requests, codes, Kinds(_vectors(stages.channels), inputs.genres.astype(np.float32)))
    found = _tried(holdout, ranking)
    first = found[RANKED]["0"]
    return {
        **head("make tune-diversity", settings, recipe, holdout),
        "ratings": CHOSEN_ON,
        "ways": found,
        "for the cost": {name: at_cost({"0": first, **rows}) for name, rows in found.items() if name != RANKED},
        "chosen": chosen(found[SERVED], first),
    }


def _vectors(channels: tuple[Channel, ...]) -> dict[str, Float32]:
    """Of the items, as they are indexed."""
    return {
        channel.name: np.where(channel.trained[:, None], channel.item_vectors(), np.nan).astype(np.float32)
        for channel in channels
        if isinstance(channel, VectorChannel)
    }


def _tried(holdout: Holdout, ranking: Ranking) -> dict[str, dict[str, Any]]:
    """Way -> strength -> summary."""
    as_ranked, kinds = ranking.requests.lists(ranking.codes, SIZE), ranking.kinds
    first = measures(holdout, as_ranked, kinds)
    found: dict[str, dict[str, Any]] = {RANKED: {"0": summary(holdout, as_ranked, kinds, first)}}
    every = [(name, *way, each) for name, way in ways(kinds).items() for each in way[2]]
    for name, rerank, rows, _, strength in progress(every, desc="re-ranking", unit="way"):
        lists = ranking.reranked(rerank, rows, strength)
        found.setdefault(name, {})[f"{strength:g}"] = summary(holdout, lists, kinds, first)
    return found


def chosen(rows: Mapping[str, Mapping[str, Any]], first: Mapping[str, Any]) -> float:
    """The largest strength that costs less than `COST`, as all smaller ones do; 0 where none does."""
    best = 0.0
    for strength, row in rows.items():
        if lost(row, first) >= COST:
            break
        best = float(strength)
    return best


def at_cost(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float] | None:
    """Each measure's mean where a way costs `COST`, between its strengths; None where none of them costs as much."""
    strengths, first = list(rows), next(iter(rows.values()))
    costs = [lost(rows[strength], first) for strength in strengths]
    beyond = next((n for n, cost in enumerate(costs) if cost >= COST), None)
    if beyond is None:
        return None
    share = (COST - costs[beyond - 1]) / (costs[beyond] - costs[beyond - 1])

    def between(name: str) -> float:
        below, above = (_mean(rows[strengths[n]][name]) for n in (beyond - 1, beyond))
        return below + share * (above - below)

    return {name: between(name) for name in first if name not in ("change", NDCG)}


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, dict) else value)


def show(found: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"for {COST:.0%} of the NDCG@{K}, on {found['ratings']} of {found['dataset']}")
    first = found["ways"][RANKED]["0"]
    shown = [name for name in first if name not in ("change", NDCG)]
    for name in ("", *shown):
        table.add_column(name)
    table.add_row(RANKED, *(f"{_mean(first[name]):.4f}" for name in shown))
    for name, row in found["for the cost"].items():
        table.add_row(name, *("-" if row is None else f"{row[each]:.4f}" for each in shown))
    console.print(table)
    console.print(f"{found['chosen']:g} costs less")


def main(settings: Settings) -> None:
    ranker_of_lists(settings.recipe)  # before minutes are spent
    found = plain(measure(settings, settings.recipe))
    write(found, settings, "tune_diversity")
    show(found, Console())


if __name__ == "__main__":
    run(main)
