"""Step 2: genre statistics, joined point in time.

In industry: features are joined to a click as they were when it happened, on Spark or in a feature store. A later state
leaks the answer; a much older one is not what the server will see. So every train and test row gets the state of the
last 10 interactions strictly before it, and the newest state is published for serving. The last ten
interactions of a user (the holdout) are in neither.

Reads:  offline/{ratings,users,items}.parquet
Writes: offline/{impression_terms,user_terms,item_terms}.parquet, offline/{genres,terms_report}.json
Run:    cd offline/preprocess && python s2_term_trans.py
Expect: 939,809 rows with 36 statistics over 18 genres; 283 items of genre 2, Adventure (MovieLens-1M)
"""

from __future__ import annotations

from functools import partial

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from offline import engines, published
from offline.data import terms


def main(settings: Settings) -> None:
    folder, window = settings.exchange_dir, settings.recipe.data.window
    dataset = read_dataset(folder)
    items = artifacts.ITEMS.read(folder)
    genres = terms.genre_names(items)
    item_terms = terms.genre_codes(items, genres)
    flags = terms.genre_flags(item_terms, len(genres))

    second = int(flags[:, 1].sum()) if len(genres) > 1 else 0
    published.expect(dataset.name, "items of genre 2", second, published.ML_1M_ADVENTURE_ITEMS)
    published.expect(dataset.name, "genres", len(genres), published.SETS[published.ML_1M].genres)

    artifacts.GENRES.write(folder, {Columns.GENRES: genres})
    artifacts.ITEM_TERMS.write(folder, item_terms)
    with engines.chosen(settings) as engine:
        before, newest = (
            partial(function, item_terms=item_terms, genres=genres, window=window)
            for function in (terms.impression_terms, terms.user_terms)
        )
        read = terms.COUNTED_FROM
        rows = engine.of_users(folder, artifacts.RATINGS, before, artifacts.IMPRESSION_TERMS, columns=read)
        engine.of_users(
            folder, artifacts.RATINGS, newest, artifacts.USER_TERMS, columns=read, everybody=artifacts.USERS
        )
    artifacts.TERMS_REPORT.write(folder, provenance.made_from(folder, settings.recipe, provenance.TERMS))
    word = dataset.word
    print(f"{rows:,} rows with {len(terms.statistic_columns(genres))} statistics over {len(genres)} {word}s")
    if len(genres) > 1:
        print(f"{second} items of {word} 2, {genres[1]}")


if __name__ == "__main__":
    engines.run(main)
