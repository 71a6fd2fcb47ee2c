"""Step 3: each user's preferred genres and seen items, and the popular items.

In industry: one of a dozen recall channels; a user's recent tags query an inverted index. A user's tags here are the
genres clicked at least 3 times within the last 10 interactions. What that would have recalled is measured on the
validation part of the training rows, with preferences from the rows before it; the held-out rows are not read.

Reads:  offline/{ratings,user_terms,item_terms}.parquet, offline/genres.json
Writes: offline/{user_preferences,user_seen,popular}.parquet, offline/term_recall_report.json
Run:    cd offline/recall && python s1_term_recall.py
Expect: 78.2% of 6,040 users have a preferred genre; validation recall@200 0.3491 with the source's 200
        candidates (MovieLens-1M)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import Recipe
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import term_recall, terms
from offline.data.split import validation_mask


def main(settings: Settings) -> None:
    folder, recipe = settings.exchange_dir, settings.recipe
    genres: list[str] = artifacts.GENRES.read(folder)[Columns.GENRES]
    columns = [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.LABEL, Columns.SPLIT]
    ratings = artifacts.RATINGS.read(folder, columns)
    offline = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    user_terms = artifacts.USER_TERMS.read(folder)
    item_terms = artifacts.ITEM_TERMS.read(folder)

    preferences = term_recall.preferences(user_terms, genres, recipe.data.clicks_for_preference)
    artifacts.USER_PREFERENCES.write(folder, preferences)
    artifacts.USER_SEEN.write(folder, term_recall.seen_items(offline, user_terms[Columns.USER]))
    artifacts.POPULAR.write(folder, term_recall.popularity(offline))

    report = _validate(offline[offline[Columns.SPLIT] == Split.TRAIN], item_terms, len(genres), recipe)
    served = float((preferences[Columns.GENRES].str.len() > 0).mean())
    read = provenance.made_from(folder, recipe, provenance.TERM_RECALL)
    artifacts.TERM_RECALL_REPORT.write(folder, {"served_share_with_preference": served, "validation": report, **read})
    print(f"{served:.1%} of {len(preferences):,} users have a preferred {read_dataset(folder).word}")
    found = report[f"recall_at_{recipe.recall.candidates}"]
    print(
        f"validation: {report['candidates']['p50']:.0f} candidates (median), "
        f"recall@{recipe.recall.candidates} {'-' if found is None else f'{found:.4f}'}"
    )


def _validate(train: pd.DataFrame, item_terms: pd.DataFrame, n_genres: int, recipe: Recipe) -> dict[str, Any]:
    """Preferences as they stand before the validation rows, against what those rows click."""
    flags = terms.genre_flags(item_terms, n_genres)
    train = train.assign(item=np.searchsorted(item_terms[Columns.ITEM], train[Columns.ITEM]))
    held_out = validation_mask(train[Columns.USER], recipe.data.validation_share)
    fit, validation = train[~held_out], train[held_out]
    users, state = terms.newest_terms(fit, flags, recipe.data.window)
    popular = term_recall.popularity(fit).set_index(Columns.ITEM)[Columns.SCORE]
    clicked = validation[validation[Columns.LABEL] == 1]
    return term_recall.evaluate(
        term_recall.preferred_codes(state[:, n_genres:], recipe.data.clicks_for_preference),
        flags,
        popular.reindex(item_terms[Columns.ITEM], fill_value=0).to_numpy(np.float32),
        _items_of(fit, users),
        _items_of(clicked, users),
        recipe.recall.candidates,
    )


def _items_of(rows: pd.DataFrame, users: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """The items of every user's rows, in the order of ``users``."""
    lists = {user: part.to_numpy() for user, part in rows.groupby(Columns.USER)["item"]}
    return [lists.get(user, np.array([], dtype=np.int64)) for user in users]


if __name__ == "__main__":
    run(main)
