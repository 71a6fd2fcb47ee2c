"""Import a model that another library has trained: ``make import-model bundle=<folder>``.

1. check    the bundle's files, its ids against those of the data set in the exchange folder
2. parity   for the sample of users in expected.parquet, the lists that the stack will give against the library's own:
            the same first 50 for 99 % of them, scores within 1e-5 of the user's largest
3. recipe   models/<name>.json in the exchange folder, written last: the model alone, whose order is the answer's

Reads:  the bundle; offline/{users,items,ratings}.parquet and raw/dataset.json of the exchange folder
Writes: models/<name>-<digest>.npz, models/<name>.json in the exchange folder
Run:    make import-model bundle=<folder>; then RECSYS_RECIPE=<the recipe> make offline sync serve
        make export-events folder=<folder>: what a library is trained on, events.parquet
Expect: the parity that was found, and the command that serves the model
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, plugins
from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.files import write_text, written_in_place
from data_exchange_center.fusion import NOT_FOUND, Hits
from data_exchange_center.recipes import RECIPES, RecallRecipe, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from data_exchange_center.top_k import top_k
from extras.models import bundle
from extras.models.bundle import EXPECTED, MODEL, About, BundleError, Own
from extras.models.channel import (
    MODELS,
    ImportedRecipe,
    ImportedVectorsRecipe,
    OrderRecipe,
    served,
    write_model,
)
from extras.models.encoder import ImportedEncoderRecipe
from offline.data.sequences import Inputs, Points, requests_at
from offline.readers import read_inputs

COMPARED: Final = 50  # first items of each list
SAME_LISTS: Final = 0.99  # of the sample's users
TOLERANCE: Final = 1e-5  # of a score, as a share of the user's largest


class Parity(NamedTuple):
    """Lists of the stack against those of the library."""

    users: int
    same: float  # share of users with the same first items and scores; items with equal scores may change places
    difference: float  # the largest of their scores, as a share of the user's largest
    first: str  # the first difference, in words; empty: none


def export_events(settings: Settings, folder: Path) -> None:
    """Write all that a model may be trained on: events.parquet."""
    inputs = read_inputs(settings)
    past, levels = inputs.data, np.array([0.0, *inputs.dataset.levels])
    own_users, own_items = own_ids(settings)
    table = pd.DataFrame(
        {
            "user": own_users[past.users],
            "item": own_items[past.items - 1],
            "rating": levels[past.ratings],
            "liked": past.liked,
            "time": past.times,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "events.parquet"
    with written_in_place(path) as temporary:
        table.to_parquet(temporary, index=False)
    print(  # noqa: T201
        f"{path}: {len(table):,} events of {past.n_users:,} users for {past.n_items:,} items"
    )


def import_model(settings: Settings, folder: Path) -> Path:
    """Check a bundle and write its recipe. Raises BundleError, and changes nothing then."""
    inputs = read_inputs(settings)
    past, (users, items) = inputs.data, own_ids(settings)
    own = (
        {each: row for row, each in enumerate(users)},
        {each: row for row, each in enumerate(items)},
    )

    # check
    about = bundle.about(folder)
    expect_free(about.name)
    model = bundle.read(folder, about, past, own)
    channel = channel_recipe(about)

    # parity
    as_served = served(channel, model, past.item_numbers, past.user_numbers)
    parity = compared(as_served, folder, inputs, own)
    if parity.same < SAME_LISTS:
        raise BundleError(
            f"{folder / EXPECTED}: {parity.same:.1%} of {parity.users} lists have the library's first {COMPARED} "
            f"items with its scores (at least {SAME_LISTS:.0%}; scores within {TOLERANCE:g} of the user's largest). "
            f"The first difference: {parity.first}"
        )

    # recipe, with how many of each user's events the model may have been trained on
    exchange = settings.exchange_dir
    trained = {"past_users": past.user_numbers, "past_events": past.lengths}
    file = write_model(exchange, about.name, {**model, **trained})
    channel = channel.model_copy(update={"file": file})
    recall = RecallRecipe(channels=(channel,))
    recipe = Recipe(name=about.name, recall=recall, ranker=OrderRecipe())
    out = exchange / MODELS / f"{about.name}.json"
    write_text(out, recipe.model_dump_json(indent=2) + "\n")
    for path in out.parent.glob(f"{about.name}-*.npz"):
        if path != exchange / file:
            path.unlink()  # of an earlier import
    print(  # noqa: T201
        f"{about.name} ({about.library})\nparity: {parity.same:.1%} of {parity.users} lists have the same first "
        f"{COMPARED} items and scores, within {parity.difference:.1g} of the largest\n{out}: the recipe. To serve it:\n"
        f"  RECSYS_RECIPE={out} make offline up sync serve"
    )
    return out


def channel_recipe(about: About) -> ImportedRecipe:
    """Settings of a bundle's channel, whose file is not written yet."""
    if about.kind == "vectors":
        return ImportedVectorsRecipe(name=about.name, file="")
    return ImportedEncoderRecipe(name=about.name, file="", history=about.history_length)


def expect_free(name: str) -> None:
    """Raise BundleError for a name that is taken, by a recipe or a channel."""
    taken = {"fused", "popular", *RECIPES, *plugins.find(plugins.RECIPES)}
    for recipe in RECIPES.values():
        taken.update(each.name for each in recipe.recall.channels)
    if name in taken:
        raise BundleError(
            f"{MODEL}: name {name!r} is taken by a recipe or a channel: give the model another one"
        )


def compared(channel: Channel, folder: Path, inputs: Inputs, own: Own) -> Parity:
    """The channel's unseen items for the sample's users, as it is served, against the library's own lists.

    Raises BundleError for a list that ends before the first `COMPARED` items, and before those that the channel finds.
    """
    own_users, own_items = own
    path = folder / EXPECTED
    expected = bundle.read_expected(folder)
    users = bundle.positions(path, list(expected), own_users, "users")
    texts = list(own_items)
    same, worst, first = 0, 0.0, ""
    for user, (name, (items, of_items)) in zip(users, expected.items(), strict=True):
        wanted, theirs = items[:COMPARED], of_items[:COMPARED]
        codes = 1 + bundle.positions(path, wanted, own_items, "items")
        scores, best = listed(channel, user, inputs)
        if len(wanted) < len(best.ids):
            raise BundleError(
                f"{path}: user {name} has {len(wanted)} items, of which too few can be compared: list the first "
                f"{COMPARED}, or all that the model finds ({len(best.ids)} here)"
            )
        # the best of ours have the library's scores, and so have the library's items here: equal scores may swap
        gap = np.inf
        if len(best.ids) == len(wanted):
            both = np.stack([best.scores, scores[codes]])
            # of all items, also seen ones: rounding is as large as what is summed
            largest = np.abs(scores[scores > NOT_FOUND]).max(initial=1e-12)
            gap = float(np.abs(both - theirs).max() / largest)
        if gap <= TOLERANCE:
            same += 1
            worst = max(worst, gap)
        elif not first:
            ours = [texts[code - 1] for code in best.ids[:3]]
            first = (
                f"user {name}: the library has {wanted[:3]} with {theirs[:3]}, "
                f"the stack {ours} with {best.scores[:3]}"
            )
    return Parity(len(users), same / len(users), worst, first)


def listed(channel: Channel, user: int, inputs: Inputs) -> tuple[np.ndarray, Hits]:
    """Scores of all items, by code, and the first unseen ones, for a request a second after the user's newest event."""
    past = inputs.data
    own = slice(past.starts[user], past.starts[user + 1])
    after_all = Points(
        np.array([user]), past.lengths[[user]], past.times[[own.stop - 1]] + 1
    )
    requests = requests_at(past, after_all, inputs.profiles, channel)
    scores = channel.scores(requests)
    rows = np.zeros(own.stop - own.start, np.int64)
    (best,) = top_k(scores.copy(), COMPARED, rows, past.items[own])
    return scores[0], best


def own_ids(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Own ids as text, of users and items, in the order of `Sequences`."""

    users = artifacts.USERS.read(settings.artifacts_dir).sort_values(Columns.USER)
    items = artifacts.ITEMS.read(settings.artifacts_dir).sort_values(Columns.ITEM)
    return users[Columns.OWN_ID].to_numpy(), items[Columns.OWN_ID].to_numpy()


def main(settings: Settings) -> None:
    commands = {"import": import_model, "export-events": export_events}
    parser = argparse.ArgumentParser(
        prog="python -m extras.models", description="Models of other libraries."
    )
    parser.add_argument(
        "command",
        choices=commands,
        help="check a bundle and write its recipe; write what a model is trained on",
    )
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    commands[given.command](settings, given.folder)


if __name__ == "__main__":
    run(main)
