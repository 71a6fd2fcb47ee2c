"""Load every item into Elasticsearch: an inverted index of genres and a vector index, in one index per release.

Industry recalls candidates from several such indexes at once. The vectors are ranked by inner product, because that is
what the model was trained with; a new release is a new index, so what is being served is never emptied.

Reads:  data_exchange_center/offline/items, item_terms, item_vectors, user_vectors and user_seen .parquet
Writes: index ml_item-<release>; the alias ml_item when there is none yet
Run:    cd offline_to_online/recall && python s2_item_to_es.py
Expect: MovieLens-1M: 3,883 items; genre 2 finds 283 of 3,883; every item's vector finds that item first;
        the index's 200 candidates are the model's exact 200
"""

from data_exchange_center.features import FeatureSpec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.load.es_checks import check_candidates, check_documents, check_genres, check_self_first, holds
from offline_to_online.load.es_index import item_rows, mark_checked, point_alias, write_items
from offline_to_online.load.manifests import open_release
from offline_to_online.load.redis_rows import user_rows
from offline_to_online.load.sampling import sampled_users
from offline_to_online.load.services import elastic_client, reaching

GENRE = 2  # Adventure, the genre whose count the source prints


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    release, recall = manifest.release, manifest.recipe.recall
    rows = item_rows(settings.exchange_dir)
    users = sampled_users(user_rows(settings.exchange_dir), size=500)
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as client:
        mark_checked(client, release, checked=False)
        if not holds(client, release, rows):
            write_items(client, release, rows, manifest.vector_dim)
        check_documents(client, release, rows)
        genres = check_genres(client, release, rows)
        first, tied = check_self_first(client, release, rows, recall)
        vector = check_candidates(client, release, users, rows, recall)
        mark_checked(client, release, checked=True)
        point_alias(client, release, only_if_absent=True)
    print(f"release {release}: {len(rows):,} items in Elasticsearch, each read back equal to its source")
    print(f"  genre {GENRE} ({_name(manifest.feature_spec, GENRE)}): {genres.get(GENRE, 0):,} of {len(rows):,}")
    print(
        f"  vector finds its own item first: {first:,} of {first + tied:,} (in a tie with its equal: {tied}); "
        f"without a vector: {len(rows) - first - tied:,}"
    )
    print(
        f"  the index's {vector.candidates} against the model's exact {vector.candidates}, {vector.users} users: "
        f"{vector.mean_overlap:.4%} shared (worst user {vector.min_overlap:.2%}, identical for {vector.exact}); "
        "no seen item among them"
    )


def _name(spec: FeatureSpec, code: int) -> str:
    return spec.genres[code - 1] if code <= len(spec.genres) else "no such genre"


if __name__ == "__main__":
    run(main)
