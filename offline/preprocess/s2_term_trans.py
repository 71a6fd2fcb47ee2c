"""Step 2: genre statistics, joined point in time.

In industry: features are joined to a click as they were when it happened, on Spark or in a feature store. A later state
leaks the answer; a much older one is not what the server will see. So every row that is not held out gets the state
of the last 10 interactions strictly before it, and the newest state is published for serving. The holdout is in
neither.

Reads:  offline/{ratings,users,items}.parquet
Writes: offline/{impression_terms,user_terms,item_terms}.parquet, offline/{genres,terms_report}.json
Run:    cd offline/preprocess && python s2_term_trans.py
Expect: 939,809 rows with 36 statistics over 18 genres; 283 items of genre 2, Adventure (MovieLens-1M)
"""

from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts, provenance, release_parts, steps
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from offline.data import terms


def main(settings: Settings) -> None:
    folder, window = settings.artifacts_dir, settings.recipe.data.window
    genres, item_terms = genres_of_items(folder)
    ratings, users = (
        artifacts.RATINGS.read(folder, terms.COUNTED_FROM),
        artifacts.USERS.read(folder, [Columns.USER]),
    )
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]

    before = terms.impression_terms(past, item_terms, genres, window)
    artifacts.IMPRESSION_TERMS.write(folder, before)
    newest = terms.user_terms(past, users[Columns.USER], item_terms, genres, window)
    artifacts.USER_TERMS.write(folder, newest)
    artifacts.TERMS_REPORT.write(
        folder, provenance.made_from(folder, settings.recipe, provenance.TERMS)
    )
    say(folder, len(before), genres, item_terms)


def genres_of_items(folder: Path) -> tuple[list[str], pd.DataFrame]:
    """Write, and return, the genres and the items' codes."""
    items = artifacts.ITEMS.read(folder)
    genres = terms.genre_names(items)
    item_terms = terms.genre_codes(items, genres)
    artifacts.GENRES.write(folder, {Columns.GENRES: genres})
    artifacts.ITEM_TERMS.write(folder, item_terms)
    return genres, item_terms


def say(folder: Path, rows: int, genres: list[str], item_terms: pd.DataFrame) -> None:
    """Print what was counted."""
    word = release_parts.read_dataset(folder).word
    print(f"{rows:,} rows with {2 * len(genres)} statistics over {len(genres)} {word}s")
    if len(genres) > 1:
        print(
            f"{sum(2 in codes for codes in item_terms[Columns.GENRES])} items of {word} 2, {genres[1]}"
        )


if __name__ == "__main__":
    steps.run(main, about=__doc__)
