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
from offline.data.lists import ranker_of_lists, training_lists
from offline.readers import read_inputs, read_past_ratings
from offline.recall.s2_vector_recall import channel_set, fit_channels


def main(settings: Settings) -> None:
    read = provenance.made_from(
        settings.artifacts_dir, settings.recipe, provenance.FEATURES
    )
    if settings.recipe.ranker.examples == "lists":
        write_lists(settings)
    else:
        write_pairs(settings)
    artifacts.FEATURES_REPORT.write(settings.artifacts_dir, read)
    print(provenance.FEATURES.account(settings.artifacts_dir, settings.recipe))


def require_unique_columns(spec: FeatureSpec) -> None:
    """Raise StepError when two columns have one name."""
    ((name, times),) = Counter(spec.columns).most_common(1)
    if times > 1:
        raise StepError(
            f"{times} columns of the ranker are called {name!r}: give the data's attribute another name."
        )


def write_pairs(settings: Settings) -> None:
    """Write one row for each rating that is not held out, with the user's statistics as they stood before it."""
    folder = settings.artifacts_dir
    known = [Columns.LABEL, Columns.SPLIT]
    ratings = read_past_ratings(
        settings, [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, *known]
    )
    spec, rows, of_users, of_items = pairs.rated_pairs(
        ratings,
        artifacts.USERS.read(folder),
        release_parts.read_dataset(folder).profile,
        artifacts.GENRES.read(folder)[Columns.GENRES],
        artifacts.IMPRESSION_TERMS.read(folder),
        artifacts.USER_TERMS.read(folder),
        artifacts.ITEM_TERMS.read(folder),
        settings.recipe.data.window,
    )
    require_unique_columns(spec)

    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, of_users)
    artifacts.ITEM_FEATURES.write(folder, of_items)
    table = pd.DataFrame(rows, columns=list(spec.columns), copy=False)
    table[known] = ratings[known]
    artifacts.SAMPLES.write(folder, table)
    print(
        f"{len(rows):,} rows of {spec.width} columns: {len(spec.one_hot)} one-hot, {len(spec.multi_hot)} multi-hot, "
        f"{len(spec.dense)} dense"
    )


def write_lists(settings: Settings) -> None:
    """Write the training lists that recall would have made, and the statistics that Feast is to hold."""
    folder, recipe = settings.artifacts_dir, settings.recipe
    inputs = read_inputs(settings)
    past = inputs.data
    ranker = ranker_of_lists(recipe)
    spec = statistics.list_spec(inputs, recipe, ranker)
    require_unique_columns(spec)

    # on the first part of each user's past: what the ranker is to find does not leak into its inputs
    known = past.earlier(ranker.past)
    channels = [fitted.channel for fitted in fit_channels(known, inputs, recipe)]
    # what these channels recall at moments of the past, labelled: the ranker's training data
    lists = training_lists(past, inputs.profiles, channels, recipe)
    # what the feature store is to hold
    more = ranker.statistics
    of_users = statistics.user_statistics(past, inputs.users, more)
    of_items = statistics.item_statistics(past, inputs, more)

    artifacts.LISTS.write(folder, lists.table(past.user_numbers))
    artifacts.USER_FEATURES.write(folder, of_users)
    artifacts.ITEM_FEATURES.write(folder, of_items)
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.TRAINING_CHANNELS.write(
        folder, pack_channels(channel_set(channels, past))
    )
    print(
        f"{len(lists):,} lists of up to {recipe.recall.candidates} candidates, "
        f"{lists.liked.sum():,} of them liked next; "
        f"{spec.width} columns: {len(spec.one_hot)} one-hot, {len(spec.dense)} dense, {len(spec.candidate)} of recall; "
        f"{spec.sizes.events} events of the history"
    )


if __name__ == "__main__":
    run(main, about=__doc__)
