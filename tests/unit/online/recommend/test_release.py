"""Which release answers: the live one, the one before it while that is being opened, or one that is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from online.recommend import release
from online.recommend.release import OpeningError, Releases
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import DefaultWorld

FIRST, SECOND, THIRD = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"


@dataclass
class Kept:
    """What is written to the disk."""

    releases: list[str] = field(default_factory=list)

    def keep(self, opened: Any) -> None:
        self.releases.append(opened.release)


@dataclass
class Around:
    """The releases of a process, and what is around them: the first of three is live."""

    releases: Releases
    users: FakeUsers
    kept: Kept
    readable: threading.Event
    finished: Callable[[], None]  # waits for what runs in the background


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[Around]:
    monkeypatch.setattr(release, "OPENING_WAIT_S", 600.0)
    worlds = {name: replace(DefaultWorld(), release=name) for name in (FIRST, SECOND, THIRD)}
    users, kept, readable = FakeUsers(*worlds.values(), live=FIRST), Kept(), threading.Event()
    readable.set()

    def read(name: str) -> Any:
        readable.wait()
        return SimpleNamespace(release=name, manifest=worlds[name].published.manifest, catalogue={})

    with ThreadPoolExecutor(1) as background:
        releases = Releases(users, read, background, kept)  # type: ignore[arg-type]
        yield Around(releases, users, kept, readable, lambda: background.submit(int).result())
        readable.set()


def test_what_serves_is_kept_on_the_disk(around: Around) -> None:
    around.releases.open_live()
    around.users.live_release = SECOND
    around.releases.open_live()
    around.releases.open_live()
    around.finished()
    assert around.kept.releases == [FIRST, SECOND]


@pytest.mark.parametrize("preferred", [None, SECOND])
def test_a_request_waits_for_a_release_as_long_as_it_says(around: Around, preferred: str | None) -> None:
    """Redis holds neither the one that serves nor the one that is preferred any longer."""
    around.releases.open_live()
    around.releases.open_kept(SECOND)
    around.users.live_release = THIRD
    del around.users.worlds[FIRST], around.users.worlds[SECOND]
    around.readable.clear()
    with pytest.raises(OpeningError):
        around.releases.release_and_user(1, around.users, wait_s=0.01, preferred=preferred)
    around.readable.set()
    assert around.releases.release_and_user(1, around.users, preferred=preferred)[0].release == THIRD
