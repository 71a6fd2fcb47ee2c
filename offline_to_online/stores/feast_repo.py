"""Feast's repository: what lies in it of each release, and Feast's own commands on it.

The commands run in a process of their own, one for several commands, because starting Feast takes longer than what it
is started for. They work on a copy of the registry, which then replaces the one that the feature server reads: Feast
writes the file piecemeal, and while a view is being materialised its registry entry makes the server refuse it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from data_exchange_center import wire
from data_exchange_center.columns import Columns
from data_exchange_center.feature_kinds import Entity
from data_exchange_center.features import FeatureSpec
from data_exchange_center.files import written_in_place
from data_exchange_center.own_ids import OwnId, OwnIds
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.stores import feast_engine
from offline_to_online.stores.connections import START_SERVICES
from offline_to_online.stores.feast_engine import Kind
from online.stack.feast.service import feast_environment, feature_repo, prepare_feast_repo

log = logging.getLogger(__name__)

ENTITIES: Final[tuple[Entity, ...]] = ("user", "item")
_FIELDS: Final = "fields.json"
_UNAPPLIED: Final = ".unapplied"  # file in the repository: something has changed that Feast was not told of yet
_CHECKED: Final = "checked"  # file beside a release's others: all of it was read back through the feature server
_ARROW: Final = {"int64": pa.int64(), "string": pa.string()}
_FEAST: Final = {"int64": "Int64", "string": "String"}  # names in feast.types
_REGISTRY: Final = "data/registry.db"  # as feature_store.yaml says
_WRITE: Final = "offline_to_online.stores.feast_write"


def release_dir(settings: Settings, release: str) -> Path:
    return feature_repo(settings) / "releases" / release


def checked_mark(settings: Settings, release: str) -> Path:
    """The file that says that a release was registered, loaded and read back to the end."""
    return release_dir(settings, release) / _CHECKED


def own_ids_file(settings: Settings, release: str) -> Path:
    """What people call the release's users and items."""
    return release_dir(settings, release) / "own_ids.json"


def followed_file(settings: Settings, release: str) -> Path:
    """Up to which place of the log of events the release's rows in the online store are; absent: as loaded."""
    return release_dir(settings, release) / "followed.json"


def write_own_ids(settings: Settings, release: str, own_ids: Mapping[Entity, OwnIds]) -> None:
    """For whoever brings the release's rows up to date when the artifacts are another release's."""
    with written_in_place(own_ids_file(settings, release)) as temporary:
        pairs = {entity: list(ids.items()) for entity, ids in own_ids.items()}
        temporary.write_text(json.dumps(pairs) + "\n", encoding="utf-8")


def numbers(settings: Settings, release: str) -> dict[Entity, dict[OwnId, int]]:
    """Own id -> number."""
    pairs = json.loads(own_ids_file(settings, release).read_text(encoding="utf-8"))
    return {entity: {own: number for number, own in pairs[entity]} for entity in ENTITIES}


def releases_in(settings: Settings) -> set[str]:
    folder = feature_repo(settings) / "releases"
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def live_release(settings: Settings) -> str | None:
    """The release behind the services ``ml_user`` and ``ml_item``."""
    path = feature_repo(settings) / "live.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["live"]) if path.is_file() else None


def point_live(settings: Settings, release: str) -> None:
    """Say which release stands behind ``ml_user`` and ``ml_item``; ``feast apply`` makes it known."""
    with written_in_place(feature_repo(settings) / "live.json") as temporary:
        temporary.write_text(json.dumps({"live": release}) + "\n", encoding="utf-8")


def delete_release(settings: Settings, release: str) -> None:
    """Take a release out of the repository: first what makes it visible to Feast, as this may be interrupted."""
    folder = release_dir(settings, release)
    (folder / _FIELDS).unlink(missing_ok=True)
    shutil.rmtree(folder)


def note_change(settings: Settings) -> None:
    """Say that `apply` has something to tell Feast. Before the change, so that it is not forgotten by a kill."""
    (feature_repo(settings) / _UNAPPLIED).touch()


def apply(settings: Settings) -> None:
    """Run ``feast apply`` if a change was noted: it takes seconds."""
    noted = feature_repo(settings) / _UNAPPLIED
    if noted.exists():
        run_feast(settings, ["apply"])
        noted.unlink()


def write_features(
    settings: Settings, release: str, spec: FeatureSpec, frames: dict[Entity, pd.DataFrame], at: pd.Timestamp
) -> None:
    """Write a release's parquet files and, last, fields.json, which makes the release visible to Feast.

    The same features give the same bytes.
    """
    folder = release_dir(settings, release)
    for entity, frame in frames.items():
        types = {
            wire.FEAST_KEY[entity]: pa.int64(),
            **{feature.name: _ARROW[feature.dtype] for feature in spec.stored(entity)},
        }
        schema = pa.schema([*types.items(), (Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC"))])
        table = pa.Table.from_pandas(frame.assign(**{Columns.EVENT_TIMESTAMP: at}), schema=schema, preserve_index=False)
        with written_in_place(folder / f"{entity}s.parquet") as temporary:
            pq.write_table(table.replace_schema_metadata(None), temporary)
    fields = {entity: [[feature.name, _FEAST[feature.dtype]] for feature in spec.stored(entity)] for entity in ENTITIES}
    with written_in_place(folder / _FIELDS) as temporary:
        temporary.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def run_feast(settings: Settings, *commands: Sequence[str]) -> None:
    """Run ``feast <command>`` for each command, in the feature repository. Raises StepError with Feast's last words.

    The server sees the outcome of all commands at once, or, when one fails, of none.
    """
    repo = prepare_feast_repo(settings)
    with _alone(repo):
        _run_feast(settings, repo, commands)


def write_users(settings: Settings, release: str, feature: str, values: Mapping[int, int]) -> None:
    """Write users' rows to the online store, as they were loaded but for one feature: user number -> value.

    Raises StepError with Feast's last words.
    """
    repo, key = feature_repo(settings), wire.FEAST_KEY["user"]
    rows = pd.read_parquet(release_dir(settings, release) / "users.parquet", filters=[(key, "in", list(values))])
    rows[feature] = rows[key].map(values)
    rows[Columns.EVENT_TIMESTAMP] = pd.Timestamp.now("UTC")
    with _alone(repo), tempfile.NamedTemporaryFile(suffix=".parquet", dir=repo / "data") as file:
        rows.to_parquet(file.name)
        view = wire.feast_name(wire.USER_SERVICE, release)
        _run(settings, repo, "write_to_online_store", [sys.executable, "-m", _WRITE, view, file.name], {})


@contextmanager
def _alone(repo: Path) -> Iterator[None]:
    """Wait for other processes that change the registry: of two copies, the later one would undo the earlier."""
    with (repo / "data" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, whatever happens to the process
        yield


def _for_commands(config: Path, registry: Path, kind: Kind) -> str:
    """feature_store.yaml with another registry, and with what the engine reads with.

    Quoted, as the original: Feast puts the environment's values in before it reads the YAML, and a password may have a
    # in it.
    """
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    values["registry"]["path"] = str(registry)
    values |= kind.config
    return yaml.safe_dump(values, default_style='"')


def _run_feast(settings: Settings, repo: Path, commands: Sequence[Sequence[str]]) -> None:
    registry, copy, config = repo / _REGISTRY, repo / "data" / "registry.next.db", repo / ".feature_store.next.yaml"
    kind = feast_engine.chosen(settings)
    if registry.is_file():
        shutil.copyfile(registry, copy)
    else:
        copy.unlink(missing_ok=True)
    with written_in_place(config) as temporary:
        told = _for_commands(repo / "feature_store.yaml", copy.relative_to(repo), kind)
        temporary.write_text(told, encoding="utf-8")
    for command in commands:
        log.info("feast %s", " ".join(command))
    told = json.dumps([["--feature-store-yaml", config.name, *each] for each in commands])
    job = [str(kind.python(settings)), "-m", kind.job, told]
    _run(settings, repo, commands[0][0], job, kind.variables(settings))
    copy.replace(registry)


def _run(settings: Settings, repo: Path, what: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
    """A process of Feast's; ``what`` it is to do, for what an error says. Raises StepError with Feast's last words."""
    done = subprocess.run(
        command,
        cwd=repo,
        env={**os.environ, **feast_environment(settings), **variables, "FEAST_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise StepError(
            f"Feast's `{what}` failed in {repo}, its online store being Redis at "
            f"{settings.redis.host}:{settings.redis.port} ({lines[-1] if lines else 'without a word'})",
            START_SERVICES,
        )
