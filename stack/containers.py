"""Make the folders that docker-compose.yml mounts, for the user that the containers run as, and fill Feast's.

Runs as root in the container `prepare`, before any of the others: Docker makes a folder that is missing as root.

Reads   RECSYS_UID, the user of the containers; the exchange folder
Writes  the folders of the services and of the steps below the exchange folder, and Feast's static files
Run     python -m stack.containers
"""

import os
from pathlib import Path
from typing import Final

from data_exchange_center.feast_repo import prepare_feast_repo
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from stack.service import StackError, generated_secret

USER_VARIABLE: Final = "RECSYS_UID"
ROOT_UID: Final = 0


def hand_over(folder: Path, uid: int) -> None:
    """Change the owner of a folder, and of what is below it, from root to ``uid``. Raises StackError for other owners.

    Root owns what Docker made for a missing folder, or a local stack that root has run.
    """
    inside = (
        Path(parent) / name
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )
    for path in (folder, *inside):
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


def main(settings: Settings, user: str) -> None:
    """Make the folders; safe to repeat. Raises StackError, also if ``user`` is not the number of a user, or is root."""
    if not user.isdecimal() or int(user) == ROOT_UID:
        raise StackError(
            f"{USER_VARIABLE} is {user!r}, and the containers run as a user with a number, who is not root: "
            f"`export {USER_VARIABLE}=$(id -u)`, or 1000 where you are root."
        )
    written = (
        settings.offline_dir,
        settings.trained_dir,
        settings.release_dir,
        settings.exchange_dir / "online",
    )
    mounted = ("redis", "elasticsearch/data", "triton", "prometheus/data", "keys")
    for folder in (*written, *map(settings.service_dir, mounted)):
        folder.mkdir(parents=True, exist_ok=True)
    prepare_feast_repo(settings)
    generated_secret(settings.password_file("redis"))
    for folder in written:
        hand_over(folder, int(user))


if __name__ == "__main__":
    run(lambda settings: main(settings, os.environ.get(USER_VARIABLE, "")))
