"""A whole set of artifacts, small and made up, that any release can be built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import RECIPES
from data_exchange_center.settings import Settings
from offline import movielens
from offline.data.sequences import user_states
from offline.readers import read_inputs
from tests.datasets import STARS
from tests.synthetic_ranking import write_ranker
from tests.synthetic_recall import write_channels
from tests.synthetic_world import GENRES, HOLDOUT_LAST, World


def write_artifacts(
    folder: Path,
    *,
    recipe: str = "default",
    seed: int = 0,
    users: int = 60,
    items: int = 320,
    genres: tuple[str, ...] = GENRES,
) -> None:
    """Write every part of a release of a recipe, consistent with one another. Same arguments, same bytes.

    Sizes are the recipe's where the server reads them there (history lengths), and small elsewhere. User 2 has rated
    more than a history holds; the last user is nobody the ranker knows by id; the last item was never trained on.
    """
    data = RECIPES[recipe].data
    world = World.made_up(np.random.default_rng(seed), users, items, genres, HOLDOUT_LAST)
    about = {"name": "synthetic", "origin": f"seed {seed}", "counts": {"users": users}}
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
    codes = [world.codes[item] for item in world.itemids]
    names = [[world.genres[code - 1] for code in each] for each in codes]
    items = pd.DataFrame({Columns.ITEM: world.itemids, Columns.TITLE: world.titles, Columns.GENRES: names})
    items[movielens.YEAR] = items[Columns.TITLE].map(movielens.release_year)
    artifacts.ITEMS.write(folder, _with_own_ids(items, Columns.ITEM))
    artifacts.GENRES.write(folder, {"genres": list(world.genres)})
    artifacts.ITEM_TERMS.write(folder, pd.DataFrame({Columns.ITEM: world.itemids, Columns.GENRES: codes}))


def _with_own_ids(table: pd.DataFrame, key: str) -> pd.DataFrame:
    return table.assign(**{Columns.OWN_ID: table[key].astype(str)})


def _write_recall_state(folder: Path, world: World, window: int, clicks_for_preference: int) -> None:
    clicked = world.statistics(window)[:, len(world.genres) :]
    preferred = [[code for code, n in enumerate(row, 1) if n >= clicks_for_preference] for row in clicked]
    artifacts.USER_PREFERENCES.write(folder, pd.DataFrame({Columns.USER: world.userids, Columns.GENRES: preferred}))
    seen = world.served.groupby(Columns.USER)[Columns.ITEM].apply(lambda column: sorted(column.tolist()))
    artifacts.USER_SEEN.write(folder, seen.rename(Columns.SEEN).reset_index())
    popular = world.served.groupby(Columns.ITEM)[Columns.LABEL].sum().sort_values(ascending=False, kind="stable")
    share = popular.to_numpy() / len(world.userids)
    artifacts.POPULAR.write(folder, pd.DataFrame({Columns.ITEM: popular.index, Columns.SCORE: share}))


def write_inputs(folder: Path, recipe: str = "default") -> None:
    """Say in every report that its step was run with ``recipe`` on what lies in ``folder`` now.

    A synthetic release lacks what no server reads, the training rows for example: those are in no report.
    """
    for step in provenance.STEPS:
        if step.report is None:
            continue
        there = tuple(file for file in step.inputs(RECIPES[recipe]) if file.at(folder).is_file())
        content = step.report.read(folder) if step.report.at(folder).is_file() else {}
        made_from = provenance.made_from(folder, RECIPES[recipe], replace(step, reads=there, reads_for={}))
        step.report.write(folder, {**content, **made_from})
