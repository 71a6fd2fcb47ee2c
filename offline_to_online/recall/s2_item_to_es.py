"""Load every item into Elasticsearch: an inverted index of genres and a vector index a recall channel.

Industry recalls candidates from several such indexes at once. Vectors are ranked by inner product, because that is
what the models were trained with; a release is one index, a new release a new one, so what is served is never emptied.

Reads:  data_exchange_center/offline/items, item_terms and item_vectors .parquet
Writes: index ml_item-<release>; the alias ml_item when there is none yet
Run:    cd offline_to_online/recall && python s2_item_to_es.py
Expect: MovieLens-1M: 3,883 items; genre 2 finds 283 of 3,883; for every channel (fm by the source's recipe, tower and
        ease by the default one) every item's vector finds that item first, or its equal
"""

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.releases import open_release
from offline_to_online.rows import item_rows
from offline_to_online.stores.elasticsearch import ElasticsearchStore

GENRE = 2  # Adventure, the genre whose count the source prints


def main(settings: Settings) -> None:
    manifest = open_release(settings)
    store = ElasticsearchStore(settings)
    rows = item_rows(settings.artifacts_dir)
    kind = manifest.recipe.recall.index
    store.load(manifest.release, rows, manifest.vector_dims, kind)
    found, tied = store.check(manifest, rows)
    print(
        f"release {manifest.release}: {len(rows):,} items in Elasticsearch, each read back equal to its source"
    )
    if len(genres := manifest.feature_spec.genres) >= GENRE:
        print(
            f"  {manifest.dataset.word} {GENRE} ({genres[GENRE - 1]}): {found.get(GENRE, 0):,} of {len(rows):,}"
        )
    for name, ties in tied.items():
        known = sum(name in row.vectors for row in rows)
        print(
            f"  {name}: vector finds its own item first: {known - ties:,} of {known:,} (in a tie with its equal: "
            f"{ties:,}); without a vector: {len(rows) - known:,}"
        )


if __name__ == "__main__":
    run(main, about=__doc__)
