"""Import a model that another library has trained: ``make import-model bundle=<folder>``.

1. check    the bundle's files, its ids against those of the data set in the exchange folder
2. parity   for the sample of users in expected.parquet, the lists that the stack will give against the library's own:
            the same first 50 for 99 % of them, scores within 1e-5 of the user's largest
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
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from data_exchange_center import artifacts, plugins
from data_exchange_center.channels import Arrays, Channel
from data_exchange_center.columns import Columns
from data_exchange_center.files import written_in_place
from data_exchange_center.fusion import NOT_FOUND, Hits
from data_exchange_center.recipes import (
    DEFAULT,
    RECIPES,
    ChannelRecipe,
    RecallRecipe,
    Recipe,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from data_exchange_center.top_k import top_k
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
    served,
    write_model,
)
from extras.models.encoder import ImportedEncoderRecipe
from offline.data.lists import ranker_of_lists
from offline.data.sequences import Inputs, Points, Sequences, requests_at
from offline.readers import read_inputs

COMPARED: Final = 50  # first items of each list
SAME_LISTS: Final = 0.99  # of the sample's users
TOLERANCE: Final = 1e-5  # of a score, as a share of the user's largest

Own = tuple[Mapping[str, int], Mapping[str, int]]  # own ids of users, of items -> row


class Parity(NamedTuple):
    """Lists of the stack against those of the library."""

    users: int
    same: float  # share of users with the same first items and scores; items with equal scores may change places
    difference: float  # the largest of their scores, as a share of the user's largest
    first: str  # the first difference, in words; empty: none


def export_events(settings: Settings, folder: Path) -> None:
    """Write all that a model may be trained on: events.parquet, and its first part, for `bundle.TRAINING`."""
    inputs = read_inputs(settings)
    own_users, own_items = own_ids(settings)
    past = inputs.data
    levels = np.array([0.0, *inputs.dataset.levels])
    training = past.earlier(ranker_of_lists(DEFAULT).past)
    folder.mkdir(parents=True, exist_ok=True)
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
        with written_in_place(folder / name) as temporary:
            table.to_parquet(temporary, index=False)
        print(  # noqa: T201
            f"{folder / name}: {len(table):,} events of {part.n_users:,} users for {part.n_items:,} items"
        )


def import_model(settings: Settings, folder: Path, *, with_default: bool) -> Path:
    """Check a bundle and write its recipe. Raises BundleError, and changes nothing then."""
    inputs = read_inputs(settings)
    past = inputs.data
    users, items = own_ids(settings)
    own = (_rows(users), _rows(items))

    # check
    found = bundle.read(folder)
    about = found.about
    if about.events > len(past.items):
        raise BundleError(
            f"{folder / MODEL}: trained on {about.events:,} events, of which the past here has {len(past.items):,}: "
            "held-out ones are among them; train on what `make export-events` writes now"
        )
    model = prepare(folder, found, past, own)
    channel = channel_recipe(found)
    recipe_with(channel, with_default=with_default)  # is the name free?
    of_lists = _training(folder, found, past, own) if with_default else None

    # parity
    as_served = served(channel, model, past.item_numbers, past.user_numbers)
    parity = compared(as_served, folder, inputs, own)
    if parity.same < SAME_LISTS:
        raise BundleError(
            f"{folder / EXPECTED}: {parity.same:.1%} of {parity.users} lists have the library's first {COMPARED} "
            f"items with its scores (at least {SAME_LISTS:.0%}; scores within {TOLERANCE:g} of the user's largest). "
            f"The first difference: {parity.first}"
        )

    # recipe
    exchange = settings.exchange_dir
    earlier = past.earlier_lengths(ranker_of_lists(DEFAULT).past)
    files = {"file": write_model(exchange, about.name, seen(model, past, past.lengths))}
    if of_lists:
        of_lists = seen(of_lists, past, earlier)
        files["training_file"] = write_model(exchange, about.name, of_lists)
    channel = channel.model_copy(update=files)
    recipe = recipe_with(channel, with_default=with_default)
    out = exchange / MODELS / f"{about.name}.json"
    with written_in_place(out) as temporary:
        temporary.write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in out.parent.glob(f"{about.name}-*.npz"):
        if path.relative_to(exchange).as_posix() not in files.values():
            path.unlink()  # of an earlier import
    print(  # noqa: T201
        f"{about.name} ({about.library}): {len(found.items):,} items, "
        f"{f'{len(found.users):,} users' if found.users else 'users by their events'}\n"
        f"parity: {parity.same:.1%} of {parity.users} lists have the same first {COMPARED} items and scores, within "
        f"{parity.difference:.1g} of the largest\n{out}: the recipe. To serve it:\n"
        f"  RECSYS_RECIPE={out} make offline up sync serve"
    )
    return out


def _training(folder: Path, found: Bundle, past: Sequences, own: Own) -> Arrays:
    """The model that was fitted on the first part of the past. Raises BundleError."""
    training = folder / TRAINING
    if not training.is_dir():
        raise BundleError(
            f"{folder}: has no {TRAINING}/, the same model fitted on events-training.parquet: without it the "
            "ranker would learn from lists that know what was liked next"
        )
    earlier = bundle.read(training)
    for name in ("kind", "history_length"):
        wanted, other = getattr(found.about, name), getattr(earlier.about, name)
        if other != wanted:
            raise BundleError(
                f"{training / MODEL}: {name} is {other}, that of the bundle {wanted}"
            )
    return prepare(training, earlier, past, own)


def seen(model: Arrays, past: Sequences, lengths: np.ndarray) -> Arrays:
    """The arrays, with how many of each user's events the model may have been trained on."""
    return {**model, "past_users": past.user_numbers, "past_events": lengths}


def channel_recipe(found: Bundle) -> ImportedRecipe:
    """Settings of the bundle's channel, whose file is not written yet."""
    about = found.about
    if about.kind == "vectors":
        return ImportedVectorsRecipe(name=about.name, file="")
    if about.kind == "item-item":
        return ImportedItemItemRecipe(name=about.name, file="")
    return ImportedEncoderRecipe(name=about.name, file="", history=about.history_length)


def recipe_with(channel: ChannelRecipe, *, with_default: bool) -> Recipe:
    """The model alone, in its own order; or as one more channel of the default recipe.

    Raises BundleError for a name that is taken, by a recipe or a channel.
    """
    taken = {"fused", "popular", *RECIPES, *plugins.find(plugins.RECIPES)}
    for recipe in RECIPES.values():
        taken.update(each.name for each in recipe.recall.channels)
    if channel.name in taken:
        raise BundleError(
            f"{MODEL}: name {channel.name!r} is taken by a recipe or a channel: give the model another one"
        )
    if not with_default:
        recall = RecallRecipe(channels=(channel,))
        return Recipe(name=channel.name, recall=recall, ranker=OrderRecipe())
    channels = (*DEFAULT.recall.channels, channel)
    recall = DEFAULT.recall.model_copy(update={"channels": channels})
    return DEFAULT.model_copy(update={"name": channel.name, "recall": recall})


def prepare(folder: Path, found: Bundle, past: Sequences, own: Own) -> Arrays:
    """A bundle's arrays by the data set's numbers, as in `write_model`. Raises BundleError for unknown ids."""
    own_users, own_items = own
    rows = bundle.positions(folder / ITEMS, found.items, own_items, "items")
    order = np.argsort(rows)
    arrays: dict[str, np.ndarray] = {"item_numbers": past.item_numbers[rows[order]]}
    if found.weights is not None:
        weights = found.weights[order][:, order].tocsr()
        weights.sort_indices()
        for name in ("data", "indices", "indptr"):
            arrays[name] = getattr(weights, name)
    if found.item_vectors is not None:
        arrays["items"] = found.item_vectors[order]
    if found.encoder:
        arrays["codes"] = 1 + order
        arrays["encoder"] = np.frombuffer(found.encoder, np.uint8)
    if found.user_vectors is not None:
        rows = bundle.positions(folder / USERS, found.users, own_users, "users")
        order = np.argsort(rows)
        arrays["user_numbers"] = past.user_numbers[rows[order]]
        arrays["users"] = found.user_vectors[order]
    return arrays


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
            gap = float(np.abs(both - theirs).max()) / largest
        if gap <= TOLERANCE:
            same += 1
            worst = max(worst, gap)
        elif not first:
            ours = _in_words([texts[code - 1] for code in best.ids], best.scores)
            first = f"user {name}: the library has {_in_words(wanted, theirs)}; the stack {ours}"
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


def _in_words(ids: Sequence[str], scores: Iterable[float]) -> str:
    pairs = zip(ids[:3], scores, strict=False)
    return ", ".join(f"{each} ({score:.6g})" for each, score in pairs)


def own_ids(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Own ids as text, of users and items, in the order of `Sequences`."""

    users = artifacts.USERS.read(settings.artifacts_dir).sort_values(Columns.USER)
    items = artifacts.ITEMS.read(settings.artifacts_dir).sort_values(Columns.ITEM)
    return users[Columns.OWN_ID].to_numpy(), items[Columns.OWN_ID].to_numpy()


def _rows(ids: np.ndarray) -> dict[str, int]:
    return {each: row for row, each in enumerate(ids)}


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m extras.models", description="Models of other libraries."
    )
    parser.add_argument(
        "command",
        choices=("import", "export-events"),
        help="check a bundle and write its recipe; write what a model is trained on",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--with-default",
        action="store_true",
        help="import as one more channel of the default recipe",
    )
    given = parser.parse_args()
    try:
        if given.command == "import":
            import_model(settings, given.folder, with_default=given.with_default)
        else:
            export_events(settings, given.folder)
    except BundleError as error:
        raise StepError(str(error)) from error


if __name__ == "__main__":
    run(main)
