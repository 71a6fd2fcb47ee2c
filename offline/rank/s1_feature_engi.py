"""Step 5: the columns of the ranking model, and its training data.

In industry: feature engineering on Spark, with the encoding copied by hand into the server. Here one FeatureSpec
defines the columns, their order and their encoding; training and the server both call it.

Recipe source: rated pairs. With 18 genres: 5 one-hot (userid, itemid, gender, age, occupation), 18 multi-hot (genres),
36 dense (statistics as they stood before the rating).
Recipe default: lists. The training channels, fitted on the first 60 % of each user's past, answer requests at request
points (moments in the user's past when a request could have come) that lie later, and their fused lists are labelled
with what the user liked next: the ranker learns to order what recall returns.

Reads:  offline/raw/dataset.json, offline/{ratings,users}.parquet;
        source: offline/{item_terms,user_terms,impression_terms}.parquet, offline/genres.json;
        default: offline/items.parquet
Writes: offline/{feature_spec,features_report}.json, offline/{user_features,item_features}.parquet;
        source: offline/samples.parquet; default: offline/lists.parquet, offline/training_channels.npz
Run:    cd offline/rank && python s1_feature_engi.py
Expect: source: 939,809 rows of 59 columns: 5 one-hot, 18 multi-hot, 36 dense; default: about 74,500 lists of 256
        candidates, 16 columns each, and 40 events of the user's history (MovieLens-1M)
"""

from collections import Counter

import pandas as pd

from data_exchange_center import artifacts, provenance, release_parts
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.columns import Columns
from data_exchange_center.features import FeatureSpec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.data import pairs, statistics
from offline.data.lists import ListsConfig, ranker_of_lists
from offline.readers import read_inputs, read_past_ratings
from offline.recall.s2_vector_recall import channel_set, fit_channels


def main(settings: Settings) -> None:
    if settings.recipe.ranker.examples == "lists":
        write_lists(settings)
    else:
        write_pairs(settings)


def require_unique_columns(spec: FeatureSpec) -> FeatureSpec:
    """Return ``spec``. Raises StepError when two columns have one name."""
    ((name, times),) = Counter(spec.columns).most_common(1)
    if times > 1:
        raise StepError(
            f"{times} columns of the ranker are called {name!r}: give the data's attribute another name."
        )
    return spec


def write_pairs(settings: Settings) -> None:
    """Write one row for each rating that is not held out, with the user's statistics as they stood before it."""
    folder = settings.artifacts_dir
    read = provenance.made_from(folder, settings.recipe, provenance.FEATURES)
    keys = [Columns.USER, Columns.ITEM]
    ratings = read_past_ratings(
        settings, [*keys, Columns.TIMESTAMP, Columns.LABEL, Columns.SPLIT]
    )
    terms_before = artifacts.IMPRESSION_TERMS.read(folder)
    if not ratings[keys].equals(terms_before[keys]):
        raise StepError(
            "impression_terms.parquet does not belong to ratings.parquet: run s2_term_trans.py again."
        )
    spec, rows, of_users, of_items = pairs.rated_pairs(
        ratings,
        artifacts.USERS.read(folder),
        release_parts.read_dataset(folder).profile,
        artifacts.GENRES.read(folder)[Columns.GENRES],
        terms_before,
        artifacts.USER_TERMS.read(folder),
        artifacts.ITEM_TERMS.read(folder),
        settings.recipe.data.window,
    )
    require_unique_columns(spec)

    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, of_users)
    artifacts.ITEM_FEATURES.write(folder, of_items)
    table = pd.DataFrame(rows, columns=list(spec.columns), copy=False)
    table[[Columns.LABEL, Columns.SPLIT]] = ratings[[Columns.LABEL, Columns.SPLIT]]
    artifacts.SAMPLES.write(folder, table)
    artifacts.FEATURES_REPORT.write(folder, read)
    print(
        f"{len(rows):,} rows of {spec.width} columns: {len(spec.one_hot)} one-hot, {len(spec.multi_hot)} multi-hot, "
        f"{len(spec.dense)} dense"
    )


def write_lists(settings: Settings) -> None:
    """Write the training lists that recall would have made, and the statistics that Feast is to hold."""
    folder, recipe = settings.artifacts_dir, settings.recipe
    read = provenance.made_from(folder, recipe, provenance.FEATURES)
    inputs = read_inputs(settings)
    past = inputs.data
    ranker = ranker_of_lists(recipe)
    spec = require_unique_columns(statistics.list_spec(inputs, recipe, ranker))
    # on the first part of each user's past: what the ranker is to find does not leak into its inputs
    known = past.earlier(ranker.past)
    channels = [fitted.channel for fitted in fit_channels(known, inputs, recipe)]

    # what the training channels recall at moments of the past, labelled: the ranker's training data
    lists = ListsConfig.of(recipe).recalled(past, inputs.profiles, channels)
    artifacts.LISTS.write(folder, lists.table(past.user_numbers))
    # what the feature store is to hold
    artifacts.USER_FEATURES.write(
        folder, statistics.user_statistics(past, inputs.users, ranker.statistics)
    )
    artifacts.ITEM_FEATURES.write(
        folder, statistics.item_statistics(past, inputs, ranker.statistics)
    )
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.TRAINING_CHANNELS.write(
        folder, pack_channels(channel_set(channels, past))
    )
    artifacts.FEATURES_REPORT.write(folder, read)
    say(spec, len(lists), int(lists.liked.sum()), recipe.recall.candidates)


def say(spec: FeatureSpec, lists: int, liked: int, candidates: int) -> None:
    """Print the numbers of lists, candidates and columns."""
    print(
        f"{lists:,} lists of up to {candidates} candidates, {liked:,} of them liked next; "
        f"{spec.width} columns: {len(spec.one_hot)} one-hot, {len(spec.dense)} dense, {len(spec.candidate)} of recall; "
        f"{spec.sizes.events} events of the history"
    )


if __name__ == "__main__":
    run(main, about=__doc__)
