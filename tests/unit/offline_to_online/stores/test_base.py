"""The one shape of the four stores: when a release is marked as checked, and when not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, cast

import pytest
import redis

from data_exchange_center.release import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.releases import Stores
from offline_to_online.stores.base import ReleaseStore

MANIFEST = cast(Manifest, Manifest.model_construct(release="aaaaaaaaaaaa"))


class Shelf(ReleaseStore[str, int]):
    """Keeps what it is given; gives back what it is told to give back."""

    title: ClassVar[str] = "Shelf"
    step: ClassVar[str] = "here"
    address = "nowhere:1"

    def __init__(self) -> None:
        super().__init__(Settings())
        self.held: dict[str, str] = {}
        self.marks: set[str] = set()
        self.error: Exception | None = None

    def _load(self, manifest: Manifest, content: str) -> None:
        if self.error is not None:
            raise self.error
        self.held[manifest.release] = content

    def _check(self, manifest: Manifest, content: str) -> int:
        if self.held[manifest.release] != content:
            raise CheckError("another")
        return len(content)

    def _mark(self, release: str) -> None:
        self.marks.add(release)

    def _unmark(self, release: str) -> None:
        self.marks.discard(release)

    def _is_checked(self, release: str) -> bool:
        return release in self.marks

    def _releases(self) -> set[str]:
        return set(self.held)

    def activate(self, release: str) -> None:
        """Nothing to do."""

    def delete(self, releases: Collection[str]) -> None:
        for release in releases:
            del self.held[release]


def test_a_release_is_marked_once_it_was_read_back() -> None:
    store = Shelf()
    store.load(MANIFEST, "films")
    assert not store.is_checked("aaaaaaaaaaaa")
    assert store.check(MANIFEST, "films") == 5
    assert store.is_checked("aaaaaaaaaaaa")
    assert store.releases() == {"aaaaaaaaaaaa"}


@pytest.mark.parametrize("error", [redis.ConnectionError("refused"), KeyboardInterrupt(), None])
def test_a_load_or_check_that_ends_early_leaves_no_mark(error: Exception | None) -> None:
    store = Shelf()
    store.sync(MANIFEST, "films")
    store.error = error
    if error is None:
        store.load(MANIFEST, "films")
        store.held["aaaaaaaaaaaa"] = "other films"
        with pytest.raises(CheckError):
            store.check(MANIFEST, "films")
    else:
        with pytest.raises((StepError, KeyboardInterrupt)):
            store.sync(MANIFEST, "films")
    assert not store.is_checked("aaaaaaaaaaaa")


def test_an_error_of_the_services_client_names_the_service_and_its_address() -> None:
    store = Shelf()
    store.error = redis.ConnectionError("refused")
    with pytest.raises(StepError, match=r"Shelf at nowhere:1 failed \(refused\)\. .*make up"):
        store.sync(MANIFEST, "films")


def test_each_of_the_four_names_its_step_and_its_address() -> None:
    settings = Settings()
    stores: tuple[ReleaseStore[Any, Any], ...] = Stores.of(settings).all
    assert [store.title for store in stores] == ["Redis", "Elasticsearch", "Feast", "Triton"]
    for store in stores:
        assert (settings.exchange_dir.parent / store.step).is_file()
        assert store.address
