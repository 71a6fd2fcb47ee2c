"""Step 3: each user's preferred genres, seen items and state, and the popular items.

In industry: one of a dozen recall channels; a user's recent tags query an inverted index. A user's tags here are the
genres clicked at least 3 times within the last 10 interactions; recipe source searches the index by them. The held-out
rows are not read.

A user's state is what the channels read when a request comes: profile codes, and the events before the held-out ones.

Reads:  offline/raw/dataset.json, offline/{ratings,users,user_terms}.parquet, offline/genres.json
Writes: offline/{user_preferences,user_seen,user_state,popular}.parquet, offline/term_recall_report.json
Run:    cd offline/recall && python s1_term_recall.py
Expect: 78.2% of 6,040 users have a preferred genre (MovieLens-1M)
"""

from data_exchange_center import artifacts, features, provenance, release_parts, steps
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from offline.data import sequences, terms


def main(settings: Settings) -> None:
    folder, recipe = settings.artifacts_dir, settings.recipe
    genres = artifacts.GENRES.read(folder)[Columns.GENRES]
    dataset = release_parts.read_dataset(folder)
    ratings = artifacts.RATINGS.read(folder)
    users = artifacts.USERS.read(folder)
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]

    # what the server reads of each user: preferred genres, seen items, profile and history
    at_least = recipe.data.clicks_for_preference
    preferences = terms.preferences(artifacts.USER_TERMS.read(folder), genres, at_least)
    had = past[dataset.had(past[Columns.RATING].to_numpy())]
    seen = terms.seen_items(had, users[Columns.USER])
    profile = [
        features.one_hot(name, "user", users[name].tolist()) for name in dataset.profile
    ]
    artifacts.USER_PREFERENCES.write(folder, preferences)
    artifacts.USER_SEEN.write(folder, seen)
    artifacts.USER_STATE.write(folder, sequences.user_states(past, users, profile))
    # what users who are not known are served
    artifacts.POPULAR.write(folder, terms.popularity(*terms.clicked_items(past)))
    has_preference = preferences[Columns.GENRES].str.len() > 0
    write_report(settings, float(has_preference.mean()), len(users))


def write_report(settings: Settings, with_preference: float, users: int) -> None:
    """Write and print the share of users with a preference."""
    folder = settings.artifacts_dir
    read = provenance.made_from(folder, settings.recipe, provenance.TERM_RECALL)
    report = {"served_share_with_preference": with_preference, **read}
    artifacts.TERM_RECALL_REPORT.write(folder, report)
    print(provenance.TERM_RECALL.account(folder, settings.recipe))
    word = release_parts.read_dataset(folder).word
    print(f"{with_preference:.1%} of {users:,} users have a preferred {word}")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
