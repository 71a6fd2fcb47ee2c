"""Save what cannot be trained again into one file, while the server answers; or restore such a file.

A backup holds all of Redis (users' states, events, forgotten users, changed items, rules, trials), the published
releases as they are in Elasticsearch, Feast and Triton, exported events, hashes of keys and imported models. It does
not hold the data set, the artifacts of training and the settings (RECSYS_*).

Run     make backup [file=<file>], make restore file=<file>
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from data_exchange_center import VERSION, steps
from data_exchange_center.settings import Settings
from extras.backup import index_copy, redis_copy
from extras.backup.archive import BackupError, Header, files_below, pack, unpacked
from offline_to_online.releases import Stores, require_loaded

REDIS: Final = "redis.rdb"
INDICES: Final = "elasticsearch"
FILES: Final = "files"
_FEAST: Final = "online/feast/feature_repo"
# below the exchange folder
KEPT: Final = (
    *("offline_to_online", "models", "online/events"),
    *("online/triton-aside", "online/triton"),
    *(f"{_FEAST}/releases", f"{_FEAST}/live.json", f"{_FEAST}/data/registry.db"),
)
KEYS: Final = "online/keys/api_keys"


def kept_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield each file that a backup copies, with its name in the backup."""
    base = settings.exchange_dir
    for name in KEPT:
        place = base / name
        for path in [place] if place.is_file() else files_below(place):
            yield str(path.relative_to(base)), path
    if settings.keys_file.is_file():
        yield KEYS, settings.keys_file


def target_of(settings: Settings, place: str) -> Path:
    """Where a file of a backup belongs. Raises BackupError for one that no backup holds."""
    if place == KEYS:
        return settings.keys_file
    if not any(place == name or place.startswith(f"{name}/") for name in KEPT):
        raise BackupError(f"the backup holds {place}, which is not restored")
    return settings.exchange_dir / place


def save(settings: Settings, file: Path) -> Header:
    """Write a backup. Raises BackupError where no release is live, or where the releases change meanwhile."""
    stores = Stores.of(settings)
    listed = live, published = stores.redis.listed()
    if live is None:
        raise BackupError("no release is live: there is nothing to back up")
    file.parent.mkdir(parents=True, exist_ok=True)
    header = Header(
        version=VERSION, made=datetime.now(UTC), live=live, releases=published
    )
    with TemporaryDirectory(dir=file.parent, prefix=".backup-") as name:
        folder = Path(name)
        # Redis first: an event is in its log until a file of exported events has it
        redis_copy.save(settings, folder / REDIS)
        index_copy.save(settings, published, folder / INDICES)
        try:
            for place, path in kept_files(settings):
                copy = folder / FILES / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        except FileNotFoundError as error:
            raise BackupError(
                f"{error.filename} was deleted meanwhile: run it again"
            ) from error
        if stores.redis.listed() != listed:
            raise BackupError("the releases have changed meanwhile: run it again")
        pack(folder, header, file)
    return header


def restore(settings: Settings, file: Path) -> tuple[Header, int]:
    """Load a backup into services that run and hold nothing. Returns what it holds, and the number of Redis's keys.

    The live release is set last. Raises BackupError before anything is written.
    """
    stores = Stores.of(settings)
    with unpacked(file, settings.exchange_dir) as (header, folder):
        targets = [
            (path, target_of(settings, str(path.relative_to(folder / FILES))))
            for path in files_below(folder / FILES)
        ]
        # of Redis more than releases: events outlive them
        full = [] if redis_copy.is_empty(settings) else [stores.redis.title]
        others = stores.elasticsearch, stores.feast, stores.triton
        full += [store.title for store in others if store.releases()]
        if full:
            raise BackupError(
                f"{' and '.join(full)} hold data already: restore into an empty exchange folder "
                "(RECSYS_EXCHANGE_DIR) and services of its own"
            )
        for path, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        for index in sorted((folder / INDICES).iterdir()):
            index_copy.load(settings, index)
        stores.elasticsearch.activate(header.live)
        keys = redis_copy.load(settings, folder / REDIS)
    for release in header.releases:
        require_loaded(stores, release)
    return header, keys


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m extras.backup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("save", "restore"))
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="of a new backup: backups/<time>.tar.gz of the exchange folder",
    )
    given = parser.parse_args()
    begun = time.monotonic()
    if given.command == "save":
        name = f"backups/{datetime.now(UTC):%Y-%m-%dT%H%M%S}.tar.gz"
        file = given.file or settings.exchange_dir / name
        header = save(settings, file)
        done = f"{file}: {file.stat().st_size / 1e6:.0f} MB"
    elif given.file is None:
        parser.error("restore needs the file")
    else:
        header, keys = restore(settings, given.file)
        done = f"{given.file} of {header.made:%Y-%m-%d %H:%M} UTC is restored: {keys:,} keys of Redis"
    print(  # noqa: T201
        f"{done}, releases {', '.join(header.releases)}, {time.monotonic() - begun:.1f} s"
    )


if __name__ == "__main__":
    steps.run(main)
