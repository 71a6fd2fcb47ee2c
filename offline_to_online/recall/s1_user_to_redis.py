"""Load every user's recall state into Redis: history, profile, preferred genres, vectors, the filter of seen items.

Industry keeps what a request needs about its user in a key-value store that answers in a fraction of a millisecond.
A vector that a channel learned for a user is stored; the other channels compute theirs from the history when a request
is answered, with tables that are stored with the users.
All of it is loaded under the release's own keys, so nothing that is being served changes.

Reads:  data_exchange_center/offline/user_state, user_preferences, user_vectors, user_seen and popular .parquet,
        channels.npz
Writes: Redis hashes ml:<release>:user:<own id> {number, history, profile, term, filter, vector_<channel>...},
        ml:<release>:popular, ml:<release>:channels, and the users' ids in ml:<release>:ids, ml:<release>:event_counts;
        data_exchange_center/offline_to_online/<release>/manifest.json
Run:    cd offline_to_online/recall && python s1_user_to_redis.py
Expect: MovieLens-1M: 6,040 users loaded, each read back and equal to its source; with a stored vector: 6,040 by the
        source's recipe, none by the default one, whose 2 channels make vectors of histories
"""

import logging
from dataclasses import replace

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from offline_to_online import releases, rows
from offline_to_online.stores.redis import RedisStore

log = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    manifest = releases.open_release(settings)
    state = rows.recall_state(settings.artifacts_dir)
    store = RedisStore(settings)
    if what := releases.consequences(settings, manifest):
        log.warning("%s", what)
    known = store.remembered(
        [row.own_id for row in state.users], manifest.dataset.base_name
    )
    users = tuple(row for row in state.users if row.own_id in known)
    loaded = replace(state, users=users)
    store.load(manifest, loaded)
    store.check(manifest, loaded)
    at = store.address
    print(
        f"release {manifest.release}: {len(users):,} users in Redis at {at}, each read back equal to its source"
    )
    if len(users) < len(state.users):
        print(f"  left out, as they were forgotten: {len(state.users) - len(users):,}")
    print(f"  with a history: {sum(len(row.history) > 0 for row in users):,}")
    print(f"  with a stored vector: {sum(len(row.vectors) > 0 for row in users):,}")
    print(
        f"  with preferred {manifest.dataset.word}s: {sum(len(row.terms) > 0 for row in users):,}"
    )
    print(f"  seen items in the filters: {sum(len(row.seen) for row in users):,}")
    print(f"  popular list: {len(state.popular):,} items")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
