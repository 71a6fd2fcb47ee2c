"""Feast: register a release's feature views, fill the online store, read everything back, drop old releases.

Feast's own commands do the work. They run in a process of their own, one for several commands, because starting Feast
takes longer than what it is started for. They work on a copy of the registry, which then replaces the one that the
feature server reads: Feast writes the file piecemeal, and while a view is being materialised its registry entry makes
the server refuse it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import requests
import yaml
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed
from tqdm import tqdm

from data_exchange_center import wire
from data_exchange_center.artifacts import written_in_place
from data_exchange_center.features import Entity
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.load.feast_rows import CHECKED, ENTITIES, release_dir, repo_dir
from offline_to_online.load.services import TIMEOUT_S, CheckError
from online.stack.feast.service import feast_environment, prepare_feast_repo

log = logging.getLogger(__name__)

CHUNK: Final = 500  # entities a request
_READY_S: Final = 60.0  # the feature server looks at the registry again every few seconds
_REGISTRY: Final = "data/registry.db"  # as feature_store.yaml says
_JOB: Final = (
    "import sys, json; from online.stack.feast.cli import cli\n"
    "for command in json.loads(sys.argv[1]): cli.main(command, prog_name='feast', standalone_mode=False)"
)


def run_feast(settings: Settings, *commands: Sequence[str]) -> None:
    """Run ``feast <command>`` for each command, in the feature repository. Raises StepError with Feast's last words.

    The server sees the outcome of all commands at once, or, when one fails, of none.
    """
    repo = prepare_feast_repo(settings)
    with _alone(repo):
        _run_feast(settings, repo, commands)


@contextmanager
def _alone(repo: Path) -> Iterator[None]:
    """Wait for whoever else is at work on the registry: of two copies, the one replaced last would lose the other."""
    with (repo / "data" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, whatever happens to the process
        yield


def _run_feast(settings: Settings, repo: Path, commands: Sequence[Sequence[str]]) -> None:
    registry, copy, config = repo / _REGISTRY, repo / "data" / "registry.next.db", repo / ".feature_store.next.yaml"
    if registry.is_file():
        shutil.copyfile(registry, copy)
    else:
        copy.unlink(missing_ok=True)
    with written_in_place(config) as temporary:
        original = yaml.safe_load((repo / "feature_store.yaml").read_text(encoding="utf-8"))
        original["registry"]["path"] = str(copy.relative_to(repo))
        temporary.write_text(yaml.safe_dump(original), encoding="utf-8")
    for command in commands:
        log.info("feast %s", " ".join(command))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _JOB,
            json.dumps([["--feature-store-yaml", config.name, *command] for command in commands]),
        ],
        cwd=repo,
        env={**os.environ, **feast_environment(settings), "FEAST_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise StepError(
            f"`feast {commands[0][0]}` failed in {repo}, its online store being Redis at "
            f"{settings.redis.host}:{settings.redis.port} ({lines[-1] if lines else 'without a word'}). "
            "Start the services with `make up`, see `make status`, and run this step again."
        )
    copy.replace(registry)


def materialize(settings: Settings, release: str) -> None:
    """Register what lies in the repository and load what is new of this release into the online store."""
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()  # Feast reads it as UTC
    views = [part for entity in ENTITIES for part in ("--views", wire.feast_name(wire.FEAST_SERVICE[entity], release))]
    run_feast(settings, ["apply"], ["materialize-incremental", now, *views])


def materialize_again(settings: Settings, release: str) -> None:
    """Load all of this release, even what the registry believes to be loaded: the online store may have lost it."""
    views = [part for entity in ENTITIES for part in ("--views", wire.feast_name(wire.FEAST_SERVICE[entity], release))]
    run_feast(settings, ["materialize", "--disable-event-timestamp", *views])


def ask(settings: Settings, service: str, key: str, ids: Sequence[int]) -> requests.Response:
    """The feature server's answer for one feature service, as the README's curl asks it."""
    with local_session() as session:
        return session.post(
            f"{settings.feast.url}/get-online-features",
            json={"feature_service": service, "entities": {key: list(ids)}},
            timeout=TIMEOUT_S,
        )


def check_alive(settings: Settings) -> None:
    with local_session() as session:
        session.get(f"{settings.feast.url}/health", timeout=settings.feast.timeout_s).raise_for_status()


def wait_until_known(settings: Settings, release: str | None) -> None:
    """Return when the feature server answers for a release's services (None: the live ones). Raises CheckError."""
    for entity in ENTITIES:
        service = wire.feast_name(wire.FEAST_SERVICE[entity], release) if release else wire.FEAST_SERVICE[entity]
        retrying = Retrying(
            retry=retry_if_not_result(bool),
            stop=stop_after_delay(_READY_S),
            wait=wait_fixed(0.25),
            retry_error_callback=lambda _: False,
        )
        if not retrying(lambda service=service, key=wire.FEAST_KEY[entity]: ask(settings, service, key, [1]).ok):
            raise CheckError(f"Feast at {settings.feast.url} does not know service {service!r} after {_READY_S:g} s")


def check_features(settings: Settings, release: str, frames: dict[Entity, pd.DataFrame]) -> None:
    """Read every entity back over HTTP, compare each value and mark the release checked.

    Raises CheckError naming entity, feature and values.
    """
    for entity, frame in frames.items():
        service, key = wire.feast_name(wire.FEAST_SERVICE[entity], release), wire.FEAST_KEY[entity]
        for start in tqdm(range(0, len(frame), CHUNK), desc=f"{entity}s from Feast", unit="batch", leave=False):
            chunk = frame.iloc[start : start + CHUNK]
            response = ask(settings, service, key, [int(value) for value in chunk[key]])
            response.raise_for_status()
            compare(entity, chunk, response.json())
    (release_dir(settings, release) / CHECKED).touch()


def is_checked(settings: Settings, release: str) -> bool:
    """Whether the release was registered, loaded and read back to the end."""
    return (release_dir(settings, release) / CHECKED).is_file()


def compare(entity: Entity, source: pd.DataFrame, answer: dict[str, Any]) -> None:
    """A feature server's answer against its source rows. Raises CheckError."""
    names = answer["metadata"]["feature_names"]
    stored = {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}
    absent = sorted(set(source.columns) - set(stored))
    if absent:
        raise CheckError(f"Feast gave no column {absent[0]!r} for {entity}s")
    for name in source.columns:
        wanted = source[name].tolist()
        if stored[name] == wanted:
            continue
        row = next(row for row, (got, want) in enumerate(zip(stored[name], wanted, strict=True)) if got != want)
        got = stored[name][row]
        raise CheckError(
            f"{entity} {source[wire.FEAST_KEY[entity]].iloc[row]}, feature {name!r}: "
            f"Feast gave {'no value (null)' if got is None else repr(got)}, the source says {wanted[row]!r}"
        )


def live_release(settings: Settings) -> str | None:
    """The release behind the services ``ml_user`` and ``ml_item``."""
    path = repo_dir(settings) / "live.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["live"]) if path.is_file() else None


def point_live(settings: Settings, release: str) -> None:
    """Say which release stands behind ``ml_user`` and ``ml_item``; ``feast apply`` makes it known."""
    with written_in_place(repo_dir(settings) / "live.json") as temporary:
        temporary.write_text(json.dumps({"live": release}) + "\n", encoding="utf-8")


def releases_in(settings: Settings) -> set[str]:
    folder = repo_dir(settings) / "releases"
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def delete_release(settings: Settings, release: str) -> None:
    """Take a release out of the repository; ``feast apply`` then drops its views and their rows in Redis."""
    shutil.rmtree(release_dir(settings, release))
