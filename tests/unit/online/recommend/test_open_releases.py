"""Every way from one state of a release to another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_exchange_center.recipes import SOURCE
from data_exchange_center.release import Manifest
from online.clients.base import ServiceError
from online.recommend import release as open_releases
from online.recommend.release import Release, Releases
from online.recommend.types import NoReleaseError
from tests.datasets import STARS


class Later(Executor):
    """Keeps what is submitted until it is told to run it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        self.waiting.append(run)
        return future

    def run(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class Reader:
    """Gives a release that has nothing but its name, or fails."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.error: Exception | None = None

    def __call__(self, release: str) -> Release:
        self.read.append(release)
        if self.error is not None:
            raise self.error
        spec = cast(Any, None)
        manifest = Manifest.model_construct(
            release=release, recipe=SOURCE, dataset=STARS, feature_spec=spec, vector_dims={}, model={}, parts=()
        )
        nothing = cast(Any, SimpleNamespace())
        return Release(manifest, nothing, "ml_rec", 1, {}, nothing, nothing, nothing)


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def releases(reader: Reader, later: Later) -> Releases:
    return Releases(cast(Any, None), reader, later, None)


def served(releases: Releases, later: Later, release: str) -> Release:
    opening = releases.open(release)
    later.run()
    releases.serve(opening.result(0))
    return opening.result(0)


def test_a_release_is_read_once_however_many_ask_and_open_does_not_mean_serving(
    releases: Releases, later: Later, reader: Reader
) -> None:
    assert releases.serving is None
    first, second = releases.open("a"), releases.open("a")
    assert not first.done()
    later.run()
    assert first.result(0) is second.result(0) is releases.open("a").result(0)
    assert reader.read == ["a"]
    assert releases.serving is None
    releases.serve(first.result(0))
    assert releases.serving is first.result(0)


def test_the_old_one_serves_until_it_is_told_otherwise(releases: Releases, later: Later) -> None:
    old = served(releases, later, "a")
    releases.open("b")
    assert releases.serving is old
    later.run()
    assert releases.serving is old
    releases.serve(releases.open("b").result(0))
    assert releases.serving is not old


@pytest.mark.parametrize("error", [ServiceError("feast", "is away"), NoReleaseError("no manifest"), IndexError("odd")])
def test_an_opening_that_failed_is_tried_again_after_a_while(
    releases: Releases, later: Later, reader: Reader, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = served(releases, later, "a")
    now = [100.0]
    monkeypatch.setattr(open_releases.time, "monotonic", lambda: now[0])
    reader.error = error
    opening = releases.open("b")
    later.run()
    with pytest.raises((ServiceError, NoReleaseError)):
        opening.result(0)
    with pytest.raises((ServiceError, NoReleaseError)):
        releases.open("b").result(0)  # at once, without another try
    assert reader.read == ["a", "b"]
    assert releases.serving is old
    reader.error = None
    now[0] += open_releases.REOPEN_S
    assert served(releases, later, "b").release == "b"


def test_with_nothing_to_serve_it_is_tried_again_at_once(releases: Releases, later: Later, reader: Reader) -> None:
    reader.error = ServiceError("redis", "is away")
    for tries in (1, 2, 3):
        opening = releases.open("a")
        later.run()
        assert opening.exception(0) is reader.error
        assert len(reader.read) == tries


def test_two_stay_open_and_the_one_that_serves_is_never_closed(
    releases: Releases, later: Later, reader: Reader
) -> None:
    old = served(releases, later, "a")
    for release in ("b", "c", "d"):
        releases.open(release)
        later.run()
    assert releases.serving is old
    releases.open("d")
    assert reader.read == ["a", "b", "c", "d"]
    releases.open("b")
    later.run()
    assert reader.read == ["a", "b", "c", "d", "b"]  # it was closed
    served(releases, later, "b")
    assert releases.open("a").result(0) is old  # going back takes no time
