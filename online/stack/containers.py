"""Make the folders that docker-compose.yml mounts, for the user that the containers run as, and fill Feast's.

Runs as root in the container `prepare`, before any of the others: Docker makes a folder that is missing as root.

Reads   RECSYS_UID, the user of the containers; the exchange folder
Writes  the folders of the services and of the steps below the exchange folder, and Feast's static files
Run     python -m online.stack.containers
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_exchange_center.settings import Settings, load_settings
from online.stack.catalogue import SERVICES
from online.stack.feast.service import prepare_feast_repo
from online.stack.service import StackError, run
from online.stack.triton.service import repository_key

USER_VARIABLE: Final = "RECSYS_UID"
ROOT_UID: Final = 0


def mounted_folders(settings: Settings) -> list[Path]:
    """Folders that a service's container mounts, and the server's folder of keys."""
    containers = [service.container for service in SERVICES if service.container]
    mounts = [settings.exchange_dir / "online" / folder for container in containers for folder in container.mounts]
    return [*mounts, settings.keys_file.parent]


def written_folders(settings: Settings) -> list[Path]:
    """The folders that a container writes to: below them everything belongs to the containers' user."""
    return [settings.offline_dir, settings.release_dir, settings.exchange_dir / "online"]


def container_user(environment: dict[str, str]) -> int:
    """Raises StackError for what is no user, and for root."""
    said = environment.get(USER_VARIABLE, "")
    if not said.isdecimal() or int(said) == ROOT_UID:
        raise StackError(
            f"{USER_VARIABLE} is {said!r}, and the containers run as a user with a number, who is not root: "
            f"`export {USER_VARIABLE}=$(id -u)`, or 1000 where you are root."
        )
    return int(said)


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder. What vanishes meanwhile, since a service is at work in it, is left out."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in (*folders, *files))


def hand_over(folder: Path, uid: int) -> None:
    """Give what is root's below a folder, and the folder, to ``uid``. Raises StackError for somebody else's files.

    Root's are those that Docker made for a missing folder, or a local stack that was run by root.
    """
    for path in (folder, *_below(folder)):
        try:
            owner = path.lstat().st_uid
            if owner == ROOT_UID:
                os.chown(path, uid, -1, follow_symlinks=False)
        except FileNotFoundError:  # a temporary file of a service that runs already
            continue
        if owner not in (ROOT_UID, uid):
            raise StackError(
                f"{path} belongs to user {owner}, and the containers run as user {uid}: "
                f"`export {USER_VARIABLE}={owner}`, or give the files to {uid} with chown."
            )


def main(settings: Settings, environment: dict[str, str]) -> None:
    """Safe to repeat; what lies in the folders stays. Raises StackError."""
    uid = container_user(environment)
    for folder in (*written_folders(settings), *mounted_folders(settings)):
        folder.mkdir(parents=True, exist_ok=True)
    prepare_feast_repo(settings)
    repository_key(settings)
    for folder in written_folders(settings):
        hand_over(folder, uid)


if __name__ == "__main__":
    run(lambda: main(load_settings(), dict(os.environ)), interrupted="interrupted")
