"""Step 5: the columns of the ranking model.

In industry: feature engineering on Spark, and the encoding of features copied, with luck, into the server. Here one
FeatureSpec says which columns there are, in which order and encoded how; training and the server both call it.
With 18 genres: 5 one-hot (userid, itemid, gender, age, occupation), 18 multi-hot (genres), 36 dense (statistics).

Reads:  offline/{ratings,users,item_terms,impression_terms,user_terms}.parquet, offline/genres.json
Writes: offline/feature_spec.json, offline/samples.parquet, offline/user_features.parquet,
        offline/item_features.parquet, offline/features_report.json
Run:    cd offline/rank && python s1_feature_engi.py
Expect: 939,809 rows of 59 columns: 5 one-hot, 18 multi-hot, 36 dense (MovieLens-1M)
"""

from __future__ import annotations

import pandas as pd

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.data import published, samples


def main(settings: Settings) -> None:
    folder = settings.exchange_dir
    genres: list[str] = artifacts.GENRES.read(folder)[Columns.GENRES]
    ratings = artifacts.RATINGS.read(folder, [Columns.USER, Columns.ITEM, Columns.LABEL, Columns.SPLIT])
    offline = ratings[ratings[Columns.SPLIT] != Split.ONLINE].reset_index(drop=True)
    users, item_terms = artifacts.USERS.read(folder), artifacts.ITEM_TERMS.read(folder)
    impression_terms = artifacts.IMPRESSION_TERMS.read(folder)
    keys = [Columns.USER, Columns.ITEM]
    if not offline[keys].equals(impression_terms[keys]):
        raise StepError("impression_terms.parquet does not belong to ratings.parquet: run s2_term_trans.py again.")

    spec = samples.build_spec(offline, users, genres, settings.recipe.data.window)
    user_features = samples.user_features(users, artifacts.USER_TERMS.read(folder))
    item_features = samples.item_features(item_terms, genres)
    rows = samples.encode(impression_terms, user_features, item_features, spec)
    published.expect(artifacts.DATASET.read(folder)["name"], "columns", spec.width, published.ML_1M_FEATURES)

    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, user_features)
    artifacts.ITEM_FEATURES.write(folder, item_features)
    table = pd.DataFrame(rows, columns=list(spec.columns), copy=False)
    table[[Columns.LABEL, Columns.SPLIT]] = offline[[Columns.LABEL, Columns.SPLIT]]
    artifacts.SAMPLES.write(folder, table)
    read = (artifacts.RATINGS, artifacts.USERS, artifacts.GENRES, artifacts.ITEM_TERMS, artifacts.USER_TERMS)
    artifacts.FEATURES_REPORT.write(folder, provenance.inputs_of(folder, *read, artifacts.IMPRESSION_TERMS))
    print(
        f"{len(rows):,} rows of {spec.width} columns: {len(spec.one_hot)} one-hot, {len(spec.multi_hot)} multi-hot, "
        f"{len(spec.dense)} dense"
    )


if __name__ == "__main__":
    run(main)
