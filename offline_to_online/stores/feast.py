"""User and item features in Feast: a release's feature views, registered, filled and read back through the server."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import pandas as pd

from data_exchange_center import wire
from data_exchange_center.columns import Columns
from data_exchange_center.feature_kinds import Entity
from data_exchange_center.own_ids import OwnIds
from data_exchange_center.release import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.stores import feast_repo, feast_server
from offline_to_online.stores.base import ReleaseStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureContent:
    """Raw features of all users and items, and when they were true."""

    frames: dict[Entity, pd.DataFrame]  # the key first, then the stored features in the spec's order
    at: pd.Timestamp  # UTC
    own_ids: Mapping[Entity, OwnIds]


class FeastStore(ReleaseStore[FeatureContent, int]):
    """A pair of feature views and services a release. The report of a check is the status of a first answer."""

    title: ClassVar[str] = "Feast"
    step: ClassVar[str] = "offline_to_online/rank/s1_feature_to_feast.py"

    @property
    def address(self) -> str:
        return self.settings.feast.url

    def expect_alive(self) -> None:
        """Raises StepError where the feature server does not answer."""
        with self.reaching():
            feast_server.check_alive(self.settings)

    def _load(self, manifest: Manifest, content: FeatureContent) -> None:
        feast_server.check_alive(self.settings)
        spec = manifest.feature_spec
        feast_repo.write_features(self.settings, manifest.release, spec, content.frames, content.at)
        feast_repo.write_own_ids(self.settings, manifest.release, content.own_ids)
        materialize(self.settings, manifest.release)
        followed = feast_repo.followed_file(self.settings, manifest.release)
        if followed.is_file():  # what events have changed since is not new to Feast
            _materialize_again(self.settings, manifest.release)
            followed.unlink()
        feast_server.wait_until_known(self.settings, manifest.release)

    def _check(self, manifest: Manifest, content: FeatureContent) -> int:
        """What the registry believes to be loaded may be lost in the online store: then all of it is loaded again."""
        release = manifest.release
        try:
            feast_server.check_features(self.settings, release, content.frames, content.own_ids)
        except CheckError as error:
            log.warning("%s: loading all of release %s again", error, release)
            _materialize_again(self.settings, release)
            feast_server.check_features(self.settings, release, content.frames, content.own_ids)
        feast_server.wait_until_known(self.settings, None)
        answer = feast_server.ask(self.settings, wire.ITEM_SERVICE, Columns.ITEM, [1, 3, 5])
        answer.raise_for_status()
        return answer.status_code

    def _mark(self, release: str) -> None:
        feast_repo.checked_mark(self.settings, release).touch()

    def _unmark(self, release: str) -> None:
        feast_repo.checked_mark(self.settings, release).unlink(missing_ok=True)

    def _is_checked(self, release: str) -> bool:
        return feast_repo.checked_mark(self.settings, release).is_file()

    def _releases(self) -> set[str]:
        return feast_repo.releases_in(self.settings)

    def wait_until_served(self, release: str) -> None:
        with self.reaching():
            feast_server.check_alive(self.settings)
            feast_server.wait_until_known(self.settings, release)

    def activate(self, release: str) -> None:
        """Put the release behind the services ``ml_user`` and ``ml_item``; `settle` makes it known."""
        alone = feast_repo.releases_in(self.settings) == {release}  # then it is behind them already
        before = feast_repo.live_release(self.settings) or (release if alone else None)
        if before != release:
            feast_repo.note_change(self.settings)
        feast_repo.point_live(self.settings, release)

    def delete(self, releases: Collection[str]) -> None:
        """Take releases out of the repository; `settle` then drops their views and their rows in Redis."""
        for release in releases:
            feast_repo.note_change(self.settings)
            feast_repo.delete_release(self.settings, release)

    def settle(self) -> None:
        feast_repo.apply(self.settings)


def materialize(settings: Settings, release: str) -> None:
    """Register what lies in the repository and load what is new of this release into the online store."""
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()  # Feast reads it as UTC
    feast_repo.run_feast(settings, ["apply"], ["materialize-incremental", now, *_views(release)])


def _materialize_again(settings: Settings, release: str) -> None:
    """``apply`` first: another engine may have registered the release."""
    feast_repo.run_feast(settings, ["apply"], ["materialize", "--disable-event-timestamp", *_views(release)])


def _views(release: str) -> list[str]:
    names = [wire.feast_name(wire.FEAST_SERVICE[entity], release) for entity in feast_repo.ENTITIES]
    return [part for name in names for part in ("--views", name)]
