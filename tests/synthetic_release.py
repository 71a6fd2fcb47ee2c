"""A whole set of artifacts, small and made up, that any release can be built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from data_exchange_center import artifacts, provenance
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.channels import Channel, StoredVectors
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import FeatureSpec
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import RECIPES, ChannelRecipe, Recipe
from data_exchange_center.settings import Settings
from offline import movielens
from offline.data import pairs, terms
from offline.data.sequences import Inputs, user_states
from offline.data.statistics import item_statistics, list_spec, user_statistics
from offline.models.rankers import ranker_class, weights_to_bytes
from offline.readers import read_inputs
from offline.recall.s2_vector_recall import (
    channel_set,
    fit_channel,
    item_vectors,
    user_vectors,
)
from tests.channels import random_channel
from tests.datasets import STARS

GENRES: Final = ("Action", "Adventure", "Children's", "Film-Noir")
GENDERS, AGES, OCCUPATIONS = ("F", "M"), (18, 25, 45), ("artist", "writer")
ITEMS: Final = 320
HOLDOUT_LAST: Final = 10  # of every user, as MovieLens's rule says
DIM: Final = 6  # of vectors
DILIGENT: Final = 2  # the user who has rated more than a history holds
MANY: Final = 150


@dataclass(frozen=True)
class World:
    """Tables that all parts of a release are derived from."""

    random: np.random.Generator
    userids: NDArray[np.int64]
    itemids: NDArray[np.int64]  # ascending
    codes: Mapping[int, list[int]]  # itemid -> genre codes
    people: pd.DataFrame  # as artifacts.USERS
    ratings: pd.DataFrame  # as artifacts.RATINGS

    @classmethod
    def made_up(cls, random: np.random.Generator, users: int) -> World:
        userids = np.arange(1, users + 1)
        itemids = np.sort(random.choice(np.arange(1, ITEMS * 2), ITEMS, replace=False))
        codes = {
            item: sorted(
                random.choice(len(GENRES), random.integers(1, 3), replace=False) + 1
            )
            for item in itemids
        }
        people = pd.DataFrame(
            {
                Columns.USER: userids,
                Columns.GENDER: random.choice(GENDERS, users),
                Columns.AGE: random.choice(AGES, users),
                Columns.OCCUPATION: random.choice(OCCUPATIONS, users),
            }
        )
        counts = np.where(userids == DILIGENT, MANY, random.integers(20, 40, users))
        parts = [
            _ratings(random, user, itemids, int(n))
            for user, n in zip(userids.tolist(), counts, strict=True)
        ]
        return cls(
            random, userids, itemids, codes, people, pd.concat(parts, ignore_index=True)
        )

    @property
    def served(self) -> pd.DataFrame:
        """Everything but each user's last ratings."""
        return self.ratings[self.ratings[Columns.SPLIT] != Split.HOLDOUT]

    @property
    def titles(self) -> list[str]:
        return [f"Film {item} ({1920 + item % 80})" for item in self.itemids]

    @property
    def trained(self) -> NDArray[np.bool_]:
        """(items,) who competes: what was rated, and of that not the last item."""
        rated: NDArray[np.bool_] = np.isin(self.itemids, self.served[Columns.ITEM])
        not_the_last: NDArray[np.bool_] = self.itemids < self.itemids[-1]
        return rated & not_the_last

    @property
    def item_terms(self) -> pd.DataFrame:
        """As artifacts.ITEM_TERMS."""
        return pd.DataFrame(
            {
                Columns.ITEM: self.itemids,
                Columns.GENRES: [self.codes[item] for item in self.itemids],
            }
        )

    def user_terms(self, window: int) -> pd.DataFrame:
        """As artifacts.USER_TERMS: impressions, then clicks, over each user's newest ratings."""
        return terms.user_terms(
            self.served, self.people[Columns.USER], self.item_terms, GENRES, window
        )


def _ratings(
    random: np.random.Generator, user: int, itemids: NDArray[np.int64], n: int
) -> pd.DataFrame:
    kept, stars = n - HOLDOUT_LAST, random.integers(1, 6, n)
    return pd.DataFrame(
        {
            Columns.USER: user,
            Columns.ITEM: random.choice(itemids, n, replace=False),
            Columns.RATING: stars,
            Columns.TIMESTAMP: np.sort(
                random.integers(1_000_000_000, 1_000_100_000, n)
            ),
            Columns.LABEL: (stars > 3).astype(int),
            Columns.SPLIT: [
                Split.TRAIN
                if k < 0.8 * kept
                else Split.TEST
                if k < kept
                else Split.HOLDOUT
                for k in range(n)
            ],
        }
    )


# Recall's part of a synthetic release: random channels of a recipe's forms


def write_channels(folder: Path, world: World, inputs: Inputs, recipe: Recipe) -> None:
    """Everything that the step of the vectors writes."""
    past = inputs.data
    channels = [
        made_up(channel, world, inputs, recipe) for channel in recipe.recall.channels
    ]
    artifacts.USER_VECTORS.write(folder, user_vectors(channels, past))
    artifacts.ITEM_VECTORS.write(folder, item_vectors(channels, past))
    artifacts.CHANNELS.write(folder, pack_channels(channel_set(channels, past)))
    artifacts.RECALL_REPORT.write(folder, {})


def made_up(
    channel: ChannelRecipe, world: World, inputs: Inputs, recipe: Recipe
) -> Channel:
    """Random tables in the shapes that the channel's form has; a channel of a form of its own is fitted."""
    if channel.kind in ("tower", "ease"):
        codes = [field.cardinality for field in inputs.profile]
        return random_channel(
            channel.name,
            world.random,
            _trained(world),
            DIM,
            recipe.data.history,
            profile=codes,
        )
    if channel.kind == "fm":
        return _stored_vectors(channel.name, world)
    return fit_channel(channel, inputs.data, inputs, recipe.data).channel


def _stored_vectors(name: str, world: World) -> StoredVectors:
    """Items of one length, as the check of an index wants them."""
    random = world.random
    factors = random.normal(size=(len(world.itemids) + 1, DIM - 1))
    lengths = np.linalg.norm(factors, axis=1)
    items = np.hstack([factors, np.sqrt(lengths.max() ** 2 - lengths**2)[:, None]])
    users = np.hstack(
        [
            random.normal(size=(len(world.userids), DIM - 1)),
            np.zeros((len(world.userids), 1)),
        ]
    )
    return StoredVectors(
        name, users.astype(np.float32), items.astype(np.float32), _trained(world)
    )


def _trained(world: World) -> NDArray[np.bool_]:
    return np.concatenate([[False], world.trained])


# Ranking's part of a synthetic release: the features that its recipe's ranker reads, and a random network

# What only training knows: dimensions of the list ranker's similarities by factors, and how many it has by pairs.
TRAINED: Final = {"factors": [5, 3], "pairs": 2}

# with features of users and of items
Stored = tuple[FeatureSpec, pd.DataFrame, pd.DataFrame]


def write_ranker(folder: Path, world: World, recipe: Recipe, seed: int) -> None:
    """For a ranker of any kind: the columns that it is trained on, and a network that its recipe builds."""
    inputs, ranker = (
        read_inputs(Settings(exchange_dir=folder, recipe_name=recipe.name)),
        recipe.ranker,
    )
    spec, users, items = (
        _of_lists(world, recipe, inputs)
        if ranker.examples == "lists"
        else _of_pairs(world, recipe)
    )
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, users)
    artifacts.ITEM_FEATURES.write(folder, items)
    torch.manual_seed(seed)
    network = ranker_class(ranker.kind)
    config = network.configure(ranker, spec, inputs.dataset, TRAINED)
    artifacts.RANK_WEIGHTS.write(
        folder, weights_to_bytes(_lively(network.build(config)))
    )
    artifacts.RANK_REPORT.write(folder, {"model": config, "auc": {}})


def _of_pairs(world: World, recipe: Recipe) -> Stored:
    """59 columns with 18 genres: profile, flags, statistics."""
    spec = pairs.rated_pairs_spec(
        users=world.userids.tolist()[:-1],  # the last user is unknown to the model
        items=world.itemids[world.trained].tolist(),
        profile={
            Columns.GENDER: GENDERS,
            Columns.AGE: AGES,
            Columns.OCCUPATION: OCCUPATIONS,
        },
        genres=GENRES,
        window=recipe.data.window,
    )
    users = world.people.merge(
        world.user_terms(recipe.data.window).astype("int64"), on=Columns.USER
    )
    flags = terms.genre_flags(world.item_terms[Columns.GENRES], len(GENRES)).astype(
        "int64"
    )
    items = pd.DataFrame(flags, columns=terms.columns_of(GENRES, terms.HAS)).assign(
        **{Columns.ITEM: world.itemids}
    )
    return spec, users, items[[Columns.ITEM, *terms.columns_of(GENRES, terms.HAS)]]


def _of_lists(world: World, recipe: Recipe, inputs: Inputs) -> Stored:
    """Item code, profile, statistics, recall's scores, history."""
    spec = list_spec(inputs, recipe, recipe.ranker)
    more = recipe.ranker.statistics
    return (
        spec,
        user_statistics(inputs.data, world.people, more),
        item_statistics(inputs.data, inputs, more),
    )


def _lively(model: nn.Module) -> nn.Module:
    """Weights large enough that every input column moves the score."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


# A whole set of artifacts, small and made up, that any release can be built from


def write_artifacts(
    folder: Path, *, recipe: str = "default", seed: int = 0, users: int = 60
) -> None:
    """Write every part of a release of a recipe, consistent with one another. Same arguments, same bytes.

    Sizes are the recipe's where the server reads them there (history lengths), and small elsewhere. User 2 has rated
    more than a history holds; the last user is nobody the ranker knows by id; the last item was never trained on.
    """
    for name, content in _made(recipe, seed, users).items():
        with written_in_place(folder / name) as temporary:
            temporary.write_bytes(content)


@cache
def _made(recipe: str, seed: int, users: int) -> Mapping[str, bytes]:
    """The files by their paths: made once, since many tests begin with them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, recipe, seed, users)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def _make(folder: Path, recipe: str, seed: int, n_users: int) -> None:
    data = RECIPES[recipe].data
    world = World.made_up(np.random.default_rng(seed), n_users)
    about = {
        "name": "synthetic",
        "origin": f"seed {seed}",
        "counts": {"users": n_users},
    }
    dataset = STARS.model_copy(update=about)
    artifacts.DATASET.write(folder, dataset.model_dump(mode="json"))
    artifacts.RATINGS.write(folder, world.ratings)
    artifacts.USERS.write(folder, _with_own_ids(world.people, Columns.USER))
    _write_items(folder, world)
    _write_recall_state(folder, world, data.window, data.clicks_for_preference)
    inputs = read_inputs(Settings(exchange_dir=folder, recipe_name=recipe))
    users = artifacts.USERS.read(folder)
    past = world.ratings[world.ratings[Columns.SPLIT] != Split.HOLDOUT]
    artifacts.USER_STATE.write(folder, user_states(past, users, inputs.profile))
    write_channels(folder, world, inputs, RECIPES[recipe])
    write_ranker(folder, world, RECIPES[recipe], seed)
    write_inputs(folder, recipe)


def _write_items(folder: Path, world: World) -> None:
    names = [[GENRES[code - 1] for code in world.codes[item]] for item in world.itemids]
    items = pd.DataFrame(
        {
            Columns.ITEM: world.itemids,
            Columns.TITLE: world.titles,
            Columns.GENRES: names,
        }
    )
    items[movielens.YEAR] = items[Columns.TITLE].map(movielens.release_year)
    artifacts.ITEMS.write(folder, _with_own_ids(items, Columns.ITEM))
    artifacts.GENRES.write(folder, {"genres": list(GENRES)})
    artifacts.ITEM_TERMS.write(folder, world.item_terms)


def _with_own_ids(table: pd.DataFrame, key: str) -> pd.DataFrame:
    return table.assign(**{Columns.OWN_ID: table[key].astype(str)})


def _write_recall_state(
    folder: Path, world: World, window: int, clicks_for_preference: int
) -> None:
    preferences = terms.preferences(
        world.user_terms(window), GENRES, clicks_for_preference
    )
    artifacts.USER_PREFERENCES.write(folder, preferences)
    artifacts.USER_SEEN.write(
        folder, terms.seen_items(world.served, world.people[Columns.USER])
    )
    artifacts.POPULAR.write(
        folder, terms.popularity(*terms.clicked_items(world.served))
    )


def write_inputs(folder: Path, recipe: str = "default") -> None:
    """Say in every report that its step was run with ``recipe`` on what lies in ``folder`` now.

    A synthetic release lacks what no server reads, the training rows for example: those are in no report.
    """
    for step in provenance.STEPS:
        if not step.reads:
            continue
        there = tuple(
            file for file in step.inputs(RECIPES[recipe]) if file.at(folder).is_file()
        )
        content = step.report.read(folder) if step.report.at(folder).is_file() else {}
        made_from = provenance.made_from(
            folder, RECIPES[recipe], replace(step, reads=there, reads_for={})
        )
        step.report.write(folder, {**content, **made_from})
