"""Feast's feature repository: its folder, its static files, and the environment that feature_store.yaml reads.

The steps write releases into the folder, Feast's commands run in it, and the feature server reads it.
"""

import shutil
from pathlib import Path
from typing import Final

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings

STATIC_FILES: Final = Path(__file__).with_name("feature_repo")


def feature_repo(settings: Settings) -> Path:
    return settings.service_dir("feast") / "feature_repo"


def feast_environment(settings: Settings) -> dict[str, str]:
    """Environment that feature_store.yaml reads, in `feast apply` and `feast serve`."""
    redis = settings.redis
    address = ",".join(f"{host}:{port}" for host, port in redis.addresses)
    if (
        redis.socket
    ):  # Feast's parser wants an address, which redis-py then leaves unused
        address += f",unix_socket_path={redis.socket}"
    if not redis.cluster:  # which has one database
        address += f",db={redis.feast_db}"
    if (password := redis.secret) is not None:
        address += f",password={password}"
    return {
        "FEAST_REDIS": address,
        "FEAST_REDIS_TYPE": "redis_cluster" if redis.cluster else "redis",
    }


def prepare_feast_repo(settings: Settings) -> Path:
    """Put the feature repository's static files in place and return its folder; what else lies there stays."""
    folder = feature_repo(settings)
    for source in sorted(STATIC_FILES.iterdir()):
        if source.is_file():
            with written_in_place(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    # An empty registry, or a server that has the folder read-only could not start before the first release
    (folder / "data" / "registry.db").touch()
    return folder
