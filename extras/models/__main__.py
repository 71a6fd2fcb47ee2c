"""Import a model that another library has trained: ``make import-model bundle=<folder>``.

1. check    the bundle's files, its ids against those of the data set in the exchange folder
2. parity   for the sample of users in expected.parquet, the lists that the stack will give against the library's own:
            the same first 50 for 99 % of them, scores within 1e-5 of the largest
3. recipe   models/<name>.json in the exchange folder, written last: the model alone, whose order is the answer's; with
            ``with_default=1`` it is one more channel of the default recipe, which needs the bundle's training/

Reads:  the bundle; offline/{users,items,ratings}.parquet and raw/dataset.json of the exchange folder
Writes: models/<name>-<digest>.npz, models/<name>.json in the exchange folder
Run:    make import-model bundle=<folder> [with_default=1]; then RECSYS_RECIPE=<the recipe> make offline sync serve
        make export-events folder=<folder>: what a library is trained on, events.parquet and events-training.parquet
Expect: the parity that was found, and the command that serves the model
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, plugins
from data_exchange_center.channels import Channel, StoredVectors
from data_exchange_center.columns import Columns
from data_exchange_center.files import written_in_place
from data_exchange_center.fusion import top_k
from data_exchange_center.recipes import (
    DEFAULT,
    RECIPES,
    ChannelRecipe,
    RecallRecipe,
    Recipe,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.models import bundle
from extras.models.bundle import (
    EXPECTED,
    ITEMS,
    MODEL,
    TRAINING,
    USERS,
    Bundle,
    BundleError,
)
from extras.models.channel import (
    MODELS,
    ImportedItemItemRecipe,
    ImportedRecipe,
    ImportedVectorsRecipe,
    OrderRecipe,
    Prepared,
    served,
)
from extras.models.encoder import ImportedEncoderRecipe
from offline.data.lists import ranker_of_lists
from offline.data.sequences import Inputs, Points, Sequences, requests_at
from offline.readers import read_inputs

COMPARED: Final = 50  # first items of each list
SAME_LISTS: Final = 0.99  # of the sample's users
TOLERANCE: Final = 1e-5  # of a score, as a share of the list's largest


class Parity(NamedTuple):
    """Lists of the stack against those of the library."""

    users: int
    same: float  # share of users with the same first items and scores; items with equal scores may change places
    difference: float  # the largest of their scores, as a share of their list's largest
    first: str  # the first difference, in words; empty: none


def export_events(settings: Settings, folder: Path) -> None:
    """Write all that a model may be trained on: events.parquet, and its first part, for `bundle.TRAINING`."""
    inputs = read_inputs(settings)
    own_users, own_items = own_ids(settings)
    past = inputs.data
    levels = np.array([0.0, *inputs.dataset.levels])
    training = past.earlier(ranker_of_lists(DEFAULT).past)
    for name, part in (("events.parquet", past), ("events-training.parquet", training)):
        table = pd.DataFrame(
            {
                "user": own_users[part.users],
                "item": own_items[part.items - 1],
                "rating": levels[part.ratings],
                "liked": part.liked,
                "time": part.times,
            }
        )
        folder.mkdir(parents=True, exist_ok=True)
        with written_in_place(folder / name) as temporary:
            table.to_parquet(temporary, index=False)
        print(  # noqa: T201
            f"{folder / name}: {len(table):,} events of {part.n_users:,} users for {part.n_items:,} items"
        )


def import_model(settings: Settings, folder: Path, *, with_default: bool) -> Path:
    """Check a bundle and write its recipe. Raises BundleError, and changes nothing then."""
    inputs = read_inputs(settings)
    own_users, own_items = (
        {each: row for row, each in enumerate(ids)} for ids in own_ids(settings)
    )
    own = own_users, own_items
    found = bundle.read(folder)
    if (found.about.events or 0) > len(inputs.data.items):
        raise BundleError(
            f"{folder / MODEL}: trained on {found.about.events:,} events, of which the past here has "
            f"{len(inputs.data.items):,}: held-out ones are among them; train on what `make export-events` writes now"
        )
    prepared = prepare(folder, found, inputs.data, own)
    recipe = channel_recipe(found, "", "")
    parity = compared(
        served(recipe, prepared, inputs.data.item_numbers, inputs.data.user_numbers),
        folder,
        inputs,
        own,
    )
    if parity.same < SAME_LISTS:
        raise BundleError(
            f"{folder / EXPECTED}: {parity.same:.1%} of {parity.users} lists have the library's first {COMPARED} "
            f"items with its scores (at least {SAME_LISTS:.0%}; scores within {TOLERANCE:g} of the list's largest). "
            f"The first difference: {parity.first}"
        )
    of_past = None
    if with_default:
        training = folder / TRAINING
        if not training.is_dir():
            raise BundleError(
                f"{folder}: has no {TRAINING}/, the same model fitted on events-training.parquet: without it the "
                "ranker would learn from lists that know what was liked next"
            )
        earlier = bundle.read(training)
        if earlier.about.kind != found.about.kind:
            raise BundleError(
                f"{training}: is of kind {earlier.about.kind}, the bundle of {found.about.kind}"
            )
        if (earlier.about.history_length, earlier.about.inputs) != (
            found.about.history_length,
            found.about.inputs,
        ):
            raise BundleError(
                f"{training}: history_length and inputs must be those of the bundle's own model.toml"
            )
        of_past = prepare(training, earlier, inputs.data, own)
    recipe_with(recipe, with_default=with_default)  # raises before anything is written
    exchange = settings.exchange_dir
    file, digest = trained_on(prepared, inputs.data.lengths, inputs.data).write(
        exchange, found.about.name
    )
    recipe = channel_recipe(found, file, digest)
    if of_past:
        earlier_lengths = inputs.data.earlier_lengths(ranker_of_lists(DEFAULT).past)
        file, digest = trained_on(of_past, earlier_lengths, inputs.data).write(
            exchange, found.about.name
        )
        recipe = recipe.model_copy(
            update={"training_file": file, "training_sha256": digest}
        )
    whole = recipe_with(recipe, with_default=with_default)
    out = exchange / MODELS / f"{found.about.name}.json"
    with written_in_place(out) as temporary:
        temporary.write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in set(
        out.parent.glob(f"{found.about.name}-*.npz")
    ):  # of the model's earlier imports
        if path.relative_to(exchange).as_posix() not in (
            recipe.file,
            recipe.training_file,
        ):
            path.unlink()
    print(  # noqa: T201
        f"{found.about.name} ({found.about.library}): {len(found.items):,} items, "
        f"{f'{len(found.users):,} users' if found.users else 'users by their events'}\n"
        f"parity: {parity.same:.1%} of {parity.users} lists have the same first {COMPARED} items and scores, within "
        f"{parity.difference:.1g} of the largest\n{out}: the recipe. To serve it:\n"
        f"  RECSYS_RECIPE={out} make offline up sync serve"
    )
    return out


def trained_on(prepared: Prepared, lengths: np.ndarray, past: Sequences) -> Prepared:
    """The arrays, with how many of each user's events the model may have been trained on."""
    return replace(prepared, past_users=past.user_numbers, past_events=lengths)


def channel_recipe(found: Bundle, file: str, digest: str) -> ImportedRecipe:
    """Settings of the bundle's channel."""
    about = found.about
    if about.kind == "encoder":
        history, times = about.history_length or 0, "times" in about.inputs
        return ImportedEncoderRecipe(
            name=about.name, file=file, sha256=digest, history=history, times=times
        )
    kind = ImportedVectorsRecipe if about.kind == "vectors" else ImportedItemItemRecipe
    return kind(name=about.name, file=file, sha256=digest)


def recipe_with(channel: ChannelRecipe, *, with_default: bool) -> Recipe:
    """The model alone, in its own order; or as one more channel of the default recipe.

    Raises BundleError for a name that is taken, by a recipe or a channel.
    """
    known = (*RECIPES, *plugins.find(plugins.RECIPES))
    channels = {
        each.name for recipe in RECIPES.values() for each in recipe.recall.channels
    }
    try:
        if channel.name in known or channel.name in channels:
            raise ValueError("a recipe or a channel has that name")
        if with_default:
            recall = RecallRecipe(
                **{
                    **dict(DEFAULT.recall),
                    "channels": (*DEFAULT.recall.channels, channel),
                }
            )
            return DEFAULT.model_copy(update={"name": channel.name, "recall": recall})
        return Recipe(
            name=channel.name,
            recall=RecallRecipe(channels=(channel,)),
            ranker=OrderRecipe(),
        )
    except ValueError as error:
        raise BundleError(
            f"{MODEL}: name {channel.name!r} is taken: give the model another one"
        ) from error


Own = tuple[Mapping[str, int], Mapping[str, int]]  # own ids of users, of items -> row


def prepare(folder: Path, found: Bundle, past: Sequences, own: Own) -> Prepared:
    """A bundle's arrays by the data set's numbers. Raises BundleError for ids that it does not have."""
    rows = bundle.positions(folder / ITEMS, found.items, own[1], "items")
    order = np.argsort(rows)
    item_numbers = past.item_numbers[rows[order]]
    if found.weights is not None:
        weights = found.weights[order][:, order].tocsr()
        weights.sort_indices()
        arrays = {
            "data": weights.data,
            "indices": weights.indices,
            "indptr": weights.indptr,
        }
        return Prepared(item_numbers, np.empty(0, np.int64), arrays)
    if found.item_vectors is not None and found.encoder:
        model = np.frombuffer(found.encoder, np.uint8)
        arrays = {
            "items": found.item_vectors[order],
            "codes": 1 + order,
            "encoder": model,
        }
        return Prepared(item_numbers, np.empty(0, np.int64), arrays)
    if found.item_vectors is None or found.user_vectors is None:
        raise BundleError(f"{folder}: has neither vectors nor weights")
    of_users = bundle.positions(folder / USERS, found.users, own[0], "users")
    by = np.argsort(of_users)
    arrays = {"items": found.item_vectors[order], "users": found.user_vectors[by]}
    return Prepared(item_numbers, past.user_numbers[of_users[by]], arrays)


def compared(channel: Channel, folder: Path, inputs: Inputs, own: Own) -> Parity:
    """The channel's unseen items for the sample's users, as it is served, against the library's own lists.

    Raises BundleError for a list that ends before the first `COMPARED` items, and before those that the channel finds.
    """
    expected, past = bundle.read_expected(folder), inputs.data
    users = bundle.positions(folder / EXPECTED, expected.users, own[0], "users")
    same, worst, first = 0, 0.0, ""
    texts = list(own[1])
    stored = {channel.name: channel.users} if isinstance(channel, StoredVectors) else {}
    for user, name, items, scores in zip(
        users, expected.users, expected.items, expected.scores, strict=True
    ):
        after_all = Points(
            np.array([user]),
            past.lengths[[user]],
            past.times[[past.starts[user + 1] - 1]] + 1,
        )
        ours = channel.scores(
            requests_at(past, after_all, inputs.profiles, channel.events, stored)
        )
        mine = slice(past.starts[user], past.starts[user + 1])
        wanted = items[:COMPARED]
        codes = 1 + bundle.positions(folder / EXPECTED, wanted, own[1], "items")
        theirs = np.asarray(scores[:COMPARED], np.float64)
        largest = max(float(np.abs(theirs).max()), 1e-12)
        (hits,) = top_k(
            ours.copy(),
            COMPARED,
            np.zeros(mine.stop - mine.start, np.int64),
            past.items[mine],
        )
        if len(wanted) < len(hits.ids):
            raise BundleError(
                f"{folder / EXPECTED}: user {name} has {len(wanted)} items, of which too few can be compared: list the "
                f"first {COMPARED}, or all that the model finds ({len(hits.ids)} here)"
            )
        # the best of ours have the library's scores, and so have the library's items here: equal scores may swap
        listed = (
            hits.scores
            if len(hits.scores) == len(theirs)
            else np.full(len(theirs), np.inf)
        )
        gap = float(np.abs(np.stack([listed, ours[0, codes]]) - theirs).max()) / largest
        if gap <= TOLERANCE:
            same, worst = same + 1, max(worst, gap)
        elif not first:
            listed_ids = [texts[code - 1] for code in hits.ids[:3]]
            served = _listed(listed_ids, hits.scores)
            first = f"user {name}: the library has {_listed(wanted, theirs)}; the stack {served}"
    return Parity(len(users), same / len(users), worst, first)


def _listed(ids: Sequence[str], scores: Iterable[float]) -> str:
    return ", ".join(
        f"{each} ({score:.6g})" for each, score in zip(ids[:3], scores, strict=False)
    )


def own_ids(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Own ids as text, of users and items, in the order of `Sequences`."""
    tables = (artifacts.USERS, Columns.USER), (artifacts.ITEMS, Columns.ITEM)
    users, items = (
        table.read(settings.exchange_dir).sort_values(key)[Columns.OWN_ID].to_numpy()
        for table, key in tables
    )
    return users, items


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m extras.models", description="Models of other libraries."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser(
        "import", help="check a bundle and write its recipe"
    )
    importing.add_argument("bundle", type=Path)
    importing.add_argument(
        "--with-default",
        action="store_true",
        help="as one more channel of the default recipe",
    )
    exporting = commands.add_parser(
        "export-events", help="write what a model is trained on"
    )
    exporting.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        if given.command == "import":
            import_model(settings, given.bundle, with_default=given.with_default)
        else:
            export_events(settings, given.folder)
    except BundleError as error:
        raise StepError(str(error)) from error


if __name__ == "__main__":
    run(main)
