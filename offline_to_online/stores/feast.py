"""User and item features in Feast: a release's feature views, registered, filled and read back through its server.

Each release's files are written into Feast's repository, and Feast's own commands run on them in a subprocess: one for
several commands, because starting Feast takes longer than a command. They change a copy of the registry, which then
replaces the one that the feature server reads: Feast writes the file piecemeal, and the server refuses a view while it
is being materialised.
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import feast_repo, files, steps, wire
from data_exchange_center.columns import Columns, Entity
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import FeatureSpec
from data_exchange_center.release_parts import OwnIds
from data_exchange_center.settings import Settings
from offline_to_online.stores.base import READY_S, START_SERVICES, ReleaseStore, patient
from online.clients.base import ServiceError
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows

log = logging.getLogger(__name__)
ENTITIES: Final[tuple[Entity, ...]] = ("user", "item")
Frames = Mapping[Entity, pd.DataFrame]
CHUNK: Final = 500  # entities per request
_FIELDS: Final = "fields.json"
# file in the repository: the release behind ml_user and ml_item
_LIVE: Final = "live.json"
# file of a release: all of it was read back through the feature server
_CHECKED: Final = "checked"
_UNAPPLIED: Final = ".unapplied"  # file: `apply_pending` has work; made before a change, so that a kill is noticed
_REGISTRY: Final = "data/registry.db"  # as cli.py says
_NEXT: Final = "data/registry.next.db"  # the copy that commands change
# The feature server looks at the registry again every few seconds
_WAITING: Final = Retrying(
    retry=retry_if_exception_type(ServiceError),
    stop=stop_after_delay(READY_S),
    wait=wait_fixed(0.25),
    reraise=True,
)


class FeastStore(ReleaseStore):
    """One feature view and feature service per release and entity (user, item)."""

    title: ClassVar[str] = "Feast"
    step: ClassVar[str] = "offline_to_online/rank/s1_feature_to_feast.py"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.repository = feast_repo.feature_repo(settings)

    @property
    def address(self) -> str:
        return ", ".join(self.settings.feast.urls)

    def each_server(self) -> "Iterator[FeastStore]":
        """Yield one store per feature server, as a request may go to any; an error then names that server."""
        for node in self.settings.feast.nodes.split(","):
            feast = self.settings.feast.model_copy(update={"nodes": node})
            yield FeastStore(self.settings.model_copy(update={"feast": feast}))

    @contextmanager
    def client(self) -> Iterator[FeastFeatures]:
        """Open the server's own client. Raises StepError unless the feature server answers."""
        with (
            self.translate_errors(),
            closing(FeastFeatures(patient(self.settings).feast)) as features,
        ):
            features.ping()
            yield features

    def expect_alive(self) -> None:
        """Fail now rather than after the load. Raises StepError where a feature server does not answer."""
        for server in self.each_server():
            with server.client():
                pass

    def load(
        self, release: str, spec: FeatureSpec, frames: Frames, at: pd.Timestamp
    ) -> None:
        """Register and load a release.

        Args:
            frames: raw features by entity: the key first, then the stored features in the spec's order.
            at: event timestamp of all rows, UTC.
        """
        self._mark_of(release).unlink(missing_ok=True)
        self.write(release, spec, frames, at)
        # Feast reads it as UTC
        now = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
        self.run(["apply"], ["materialize-incremental", now, *_views(release)])
        self.wait_until_served(release)

    def write(
        self, release: str, spec: FeatureSpec, frames: Frames, at: pd.Timestamp
    ) -> None:
        """Write a release's parquet files and, last, fields.json, which makes the release visible to Feast.

        The same features give the same bytes.
        """
        folder = self._folder_of(release)
        fields: dict[Entity, list[list[str]]] = {}
        for entity, frame in frames.items():
            stored = spec.stored(entity)
            columns = [(wire.FEAST_KEY[entity], pa.int64())]
            columns += [
                (feature.name, pa.type_for_alias(feature.dtype)) for feature in stored
            ]
            columns += [(Columns.EVENT_TIMESTAMP, pa.timestamp("us", tz="UTC"))]
            rows = frame.assign(**{Columns.EVENT_TIMESTAMP: at})
            table = pa.Table.from_pandas(
                rows, schema=pa.schema(columns), preserve_index=False
            )
            with files.written_in_place(folder / f"{entity}s.parquet") as temporary:
                pq.write_table(table.replace_schema_metadata(None), temporary)
            # types are called "Int64" and "String" in feast.types
            fields[entity] = [
                [feature.name, feature.dtype.capitalize()] for feature in stored
            ]
        files.write_text(folder / _FIELDS, json.dumps(fields, indent=1) + "\n")

    def check(
        self, release: str, frames: Frames, own_ids: Mapping[Entity, OwnIds]
    ) -> None:
        """Read all of it back and mark the release as checked. Raises CheckError naming the row.

        If the online store has lost rows that the registry counts as loaded, all are loaded once more.
        """
        try:
            self.read_back(release, frames, own_ids)
        except steps.CheckError as error:
            log.warning("%s: loading all of release %s again", error, release)
            self.run(["materialize", "--disable-event-timestamp", *_views(release)])
            self.read_back(release, frames, own_ids)
        self.wait_until_served(None)
        self._mark_of(release).touch()

    def read_back(
        self, release: str, frames: Frames, own_ids: Mapping[Entity, OwnIds]
    ) -> None:
        """Read every entity back as the server does and compare each value.

        Raises CheckError naming entity, feature and values. ``own_ids``: by number.
        """
        with self.client() as features:
            for entity, frame in frames.items():
                starts = range(0, len(frame), CHUNK)
                for start in steps.progress(
                    starts, desc=f"{entity}s from Feast", unit="batch", leave=False
                ):
                    source = frame.iloc[start : start + CHUNK]
                    numbers = source[wire.FEAST_KEY[entity]].tolist()
                    found = features.call(FeatureQuery(entity, release, numbers))
                    compare(entity, source, found, own_ids[entity])

    def _folder_of(self, release: str) -> Path:
        return self.repository / "releases" / release

    def _mark_of(self, release: str) -> Path:
        return self._folder_of(release) / _CHECKED

    def is_checked(self, release: str) -> bool:
        return self._mark_of(release).is_file()

    def releases(self) -> set[str]:
        return {path.name for path in self.repository.glob("releases/*")}

    def wait_until_served(self, release: str | None) -> None:
        """Wait until each feature server answers for a release's services (None: the live ones)."""
        for server in self.each_server():
            with server.client() as features:
                for entity in ENTITIES:
                    # as the README's curl
                    _WAITING(features.call, FeatureQuery(entity, release, [1, 3, 5]))

    def live(self) -> str | None:
        """The release behind the services ``ml_user`` and ``ml_item``; None: none was ever live."""
        path = self.repository / _LIVE
        if not path.is_file():
            return None
        return str(json.loads(path.read_text(encoding="utf-8"))["live"])

    def activate(self, release: str) -> None:
        """Choose the release that the services ``ml_user`` and ``ml_item`` stand for; `apply_pending` applies it."""
        before = self.live()
        if before is None and self.releases() == {release}:
            before = release  # they stand for the only release already
        if before != release:
            (self.repository / _UNAPPLIED).touch()
        live = json.dumps({"live": release})
        files.write_text(self.repository / _LIVE, f"{live}\n")

    def delete(self, releases: Collection[str]) -> None:
        """Take releases out of the repository; `apply_pending` then drops their views and their rows in Redis."""
        for release in releases:
            (self.repository / _UNAPPLIED).touch()
            folder = self._folder_of(release)
            # first what makes it visible to Feast: a kill may follow
            (folder / _FIELDS).unlink(missing_ok=True)
            shutil.rmtree(folder)

    def apply_pending(self) -> None:
        """Run ``feast apply``, which takes seconds, if `activate` or `delete` has changed something."""
        unapplied = self.repository / _UNAPPLIED
        if unapplied.exists():
            self.run(["apply"])
            unapplied.unlink()

    def run(self, *commands: Sequence[str]) -> None:
        """Run ``feast <command>`` for each command, in one process. Raises StepError with Feast's last line.

        The server sees the outcome of all commands at once, or, when one fails, of none. Other processes that change
        the registry wait: of two copies of it, the later one would undo the earlier.
        """
        repository = feast_repo.prepare_feast_repo(self.settings)
        registry = repository / _REGISTRY
        copy = repository / _NEXT
        job = [sys.executable, "-m", "data_exchange_center.feature_repo.cli"]
        variables = feast_repo.feast_environment(self.settings)
        variables |= {"FEAST_REGISTRY": _NEXT, "FEAST_NO_PROGRESS": "1"}
        with (repository / "data" / ".lock").open("w") as lock:
            # released when the file is closed, whatever happens to the process
            fcntl.flock(lock, fcntl.LOCK_EX)
            copy.unlink(missing_ok=True)
            if registry.is_file():
                shutil.copyfile(registry, copy)
            for command in commands:
                log.info("feast %s", " ".join(command))
            done = subprocess.run(
                [*job, json.dumps(commands)],
                cwd=repository,
                env=os.environ | variables,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines()
                reason = said[-1].strip() if said else "without a word"
                raise steps.StepError(
                    f"Feast's `{commands[0][0]}` failed in {repository}, its online store being Redis at "
                    f"{self.settings.redis.url} ({reason})",
                    START_SERVICES,
                )
            copy.replace(registry)


def compare(
    entity: Entity,
    source: pd.DataFrame,
    found: FeatureRows,
    own_ids: Mapping[int, OwnId],
) -> None:
    """Compare a feature server's answer with its source rows. ``own_ids``: by number, for the CheckError."""
    for number, names in found.missing.items():
        raise steps.CheckError(
            f"{entity} {own_ids[number]!r}, feature {names[0]!r}: Feast gave no value (null)"
        )
    for name, column in source.items():
        if name not in found.columns:
            raise steps.CheckError(f"Feast gave no column {name!r} for {entity}s")
        values = found.columns[str(name)]
        for number, got, wanted in zip(found.ids, values, column, strict=True):
            if got != wanted:
                raise steps.CheckError(
                    f"{entity} {own_ids[number]!r}, feature {name!r}: Feast gave {got!r}, the source says {wanted!r}"
                )


def _views(release: str) -> list[str]:
    """Arguments that name a release's views."""
    arguments = []
    for entity in ENTITIES:
        arguments += ["--views", wire.feast_name(wire.FEAST_SERVICE[entity], release)]
    return arguments
