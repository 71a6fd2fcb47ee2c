"""Make the folders that docker-compose.yml mounts, so that they belong to you and not to root, and fill Feast's.

Run:    python -m online.stack.containers && docker compose up --detach --wait
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from data_exchange_center.settings import Settings, load_settings
from online.stack.catalogue import SERVICES
from online.stack.feast.service import prepare_feast_repo
from online.stack.service import run

CONTAINER_UID: Final = 1000  # whom the containers run as when root starts them: Elasticsearch refuses to be root


def mounted_folders(settings: Settings) -> list[Path]:
    containers = [service.container for service in SERVICES if service.container]
    return [settings.exchange_dir / "online" / folder for container in containers for folder in container.mounts]


def main(settings: Settings) -> None:
    """Safe to repeat; what lies in the folders stays."""
    folders = mounted_folders(settings)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    prepare_feast_repo(settings)
    if os.geteuid() == 0:
        for path in (path for folder in folders for path in (folder, *folder.rglob("*"))):
            shutil.chown(path, CONTAINER_UID)


if __name__ == "__main__":
    run(lambda: main(load_settings()), interrupted="interrupted")
