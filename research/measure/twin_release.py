"""A second release that can take turns with the live one: the same artifacts but for one user's preferred genres."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.stores.redis import RedisStore
from research.measure.other_checkout import ROOT


@contextmanager
def one_user_changed(settings: Settings) -> Iterator[Settings]:
    """Settings with an exchange folder whose artifacts are these, but for one user's preferred genres.

    It is a temporary folder of links: what is written for the services lands where they read it, and of the artifacts
    only the table that differs is new.
    """
    with TemporaryDirectory(prefix="recsys-soak-") as folder:
        twin = settings.model_copy(update={"exchange_dir": Path(folder)})
        twin.release_dir.symlink_to(settings.release_dir)
        twin.service_dir("").symlink_to(settings.service_dir(""))
        twin.offline_dir.mkdir()
        for path in settings.offline_dir.iterdir():
            (twin.offline_dir / path.name).symlink_to(path)
        preferences = artifacts.USER_PREFERENCES.read(settings.exchange_dir)
        genres = [[], *preferences["genres"].iloc[1:]]
        artifacts.USER_PREFERENCES.write(twin.exchange_dir, preferences.assign(genres=genres))
        yield twin


def two_releases(settings: Settings) -> tuple[str, str]:
    """The live release and another one in the stores. Where there is none, it is made, synced and checked like any.

    Raises StepError.
    """
    store = RedisStore(settings)
    live = store.live()
    if live is None:
        raise StepError("no release is live: run `make sync` first")
    others = [release for release in store.history() if release != live]
    if not others:
        with one_user_changed(settings) as twin:
            environment = {**os.environ, "RECSYS_EXCHANGE_DIR": str(twin.exchange_dir)}
            if subprocess.run(("make", "sync"), cwd=ROOT, env=environment, check=False).returncode:
                raise StepError("the second release could not be loaded: see above")
        others = [str(store.live())]
    return live, others[0]
