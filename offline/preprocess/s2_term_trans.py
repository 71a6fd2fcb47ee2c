"""Step 2: genre statistics, joined point in time.

In industry: features are joined to a click as they were when it happened, on Spark or in a feature store. A later state
leaks the answer; a much older one is not what the server will see. So the ranker of recipe source is trained on the
state of the last 10 interactions strictly before each row; no other recipe reads it, and it is not made for them. The
newest state of every user is made for all, and served. The holdout is in neither.

Reads:  offline/{ratings,users,items}.parquet
Writes: offline/{user_terms,item_terms}.parquet, offline/{genres,terms_report}.json;
        source: offline/impression_terms.parquet
Run:    cd offline/preprocess && python s2_term_trans.py
Expect: 6,040 users with 36 statistics over 18 genres; 283 items of genre 2, Adventure (MovieLens-1M)
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
    users = artifacts.USERS.read(folder, [Columns.USER])[Columns.USER]
    ratings = artifacts.RATINGS.read(folder, terms.COUNTED_FROM)
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]

    newest = terms.user_terms(past, users, item_terms, genres, window)
    artifacts.USER_TERMS.write(folder, newest)
    if settings.recipe.ranker.examples == "pairs":
        before = terms.impression_terms(past, item_terms, genres, window)
        artifacts.IMPRESSION_TERMS.write(folder, before)
    read = provenance.made_from(folder, settings.recipe, provenance.TERMS)
    artifacts.TERMS_REPORT.write(folder, read)
    print(provenance.TERMS.account(folder, settings.recipe))
    say(folder, len(users), genres, item_terms)


def genres_of_items(folder: Path) -> tuple[list[str], pd.DataFrame]:
    """Write, and return, the genres and the items' codes."""
    items = artifacts.ITEMS.read(folder)
    genres = terms.genre_names(items)
    item_terms = terms.genre_codes(items, genres)
    artifacts.GENRES.write(folder, {Columns.GENRES: genres})
    artifacts.ITEM_TERMS.write(folder, item_terms)
    return genres, item_terms


def say(folder: Path, users: int, genres: list[str], item_terms: pd.DataFrame) -> None:
    """Print what was counted."""
    word = release_parts.read_dataset(folder).word
    print(
        f"{users:,} users with {2 * len(genres)} statistics over {len(genres)} {word}s"
    )
    if len(genres) > 1:
        second = sum(2 in codes for codes in item_terms[Columns.GENRES])
        print(f"{second} items of {word} 2, {genres[1]}")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
