"""Which release answers a request: the live one, or the one before it while the live one is being opened."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from data_exchange_center.own_ids import OwnId
from online.clients.base import Asks, ServiceError, StoredError
from online.clients.redis import WHICH_IS_LIVE, RedisUsers, StoredUser, UserAnswer, UserQuery
from online.recommend.last_release import LastRelease, Saved
from online.recommend.open_release import NoReleaseError, OpenRelease
from online.recommend.open_releases import OpenReleases
from online.recommend.types import UnknownReleaseError

log = logging.getLogger(__name__)

OPENING_WAIT_S = 3.0  # of a request with nothing else to answer from; to open a release takes about one second
RENEWED_S = 1.0  # how long it is believed that no other version of a model is published than the one that is gone
Users = Asks[UserQuery, UserAnswer]

NOTHING_LIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)


class OpeningError(NoReleaseError):
    """The release is still being opened, for longer than a request waits."""

    def __init__(self, release: str) -> None:
        super().__init__(f"Release {release} is being opened, which takes a few seconds. Please ask again.")


class Releases:
    """A user's state together with the release it belongs to. Shared by threads."""

    def __init__(
        self, users: RedisUsers, read: Callable[[str], OpenRelease], background: Executor, last: LastRelease | None
    ) -> None:
        """``read`` reads a release from the services, on ``background``; ``last``: where its popular list is kept."""
        self._users = users
        self._background = background
        self._last = last
        self._releases = OpenReleases(read, background)
        self._live: str | None = None  # as Redis said last
        self.forgotten = 0  # how often somebody was forgotten, as Redis said last
        self.experiments: bytes | None = None  # those that run, packed, as Redis said last
        self._not_renewed: tuple[str, str, int, float] | None = None  # release, model, version; until when

    @property
    def serving(self) -> OpenRelease | None:
        """The release that requests are answered from; None until the first is open."""
        return self._releases.serving

    @property
    def saved(self) -> Saved | None:
        """The popular list of the release that was opened last, by this process or one before it."""
        return self._last.saved if self._last else None

    @property
    def something_to_answer_with(self) -> bool:
        return self.serving is not None or self.saved is not None

    def is_live(self, opened: OpenRelease) -> bool:
        """Whether Redis named this release when it was asked last."""
        return self._live == opened.release

    @property
    def open_count(self) -> int:
        return len(self._releases)

    def live(self, users: Users | None = None, wait_s: float | None = None) -> OpenRelease:
        """The live release, opened. Raises NoReleaseError, ServiceError."""
        answer = (users or self._users).call(WHICH_IS_LIVE)
        live = self._live = answer.live
        self.experiments = answer.experiments
        if live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return self._served(self._releases.open(live), live, wait_s)

    def for_events(self) -> OpenRelease:
        """The live release, whose data set says what an event may be; while it cannot be had, the one that serves, if
        that is of the same data set. Raises NoReleaseError, ServiceError.
        """
        serving, live = self._releases.serving, self._users.call(WHICH_IS_LIVE).live
        if serving is None or live is None or not (live == serving.release or self._stands_for(serving, live)):
            return self.live()
        return serving

    def _stands_for(self, serving: OpenRelease, live: str) -> bool:
        """Whether the live release is not open, and of the data set of the one that serves."""
        opening = self._releases.open(live)
        if opening.done() and opening.exception() is None:
            return False
        published = self._users.published(live)
        return published is not None and published.manifest.dataset.base_name == serving.manifest.dataset.base_name

    def named(self, release: str, wait_s: float | None = None) -> OpenRelease:
        """A release that need not be live, opened; which one serves does not change. ``wait_s``: as `user`.

        Raises UnknownReleaseError, OpeningError, NoReleaseError, ServiceError.
        """
        if release not in self._releases and self._users.published(release) is None:
            raise UnknownReleaseError(release)
        return self._opened(self._releases.open(release), release, wait_s)

    def preferred(self, release: str | None) -> OpenRelease | None:
        """A release that is to answer, if it is open; else the one that serves, and that one is being opened."""
        serving = self.serving
        if serving is None or release is None or release == serving.release:
            return serving
        opening = self._releases.open(release)
        return opening.result() if opening.done() and opening.exception() is None else serving

    def user(
        self, userid: OwnId, users: Users, wait_s: float | None = None, preferred: str | None = None
    ) -> tuple[OpenRelease, StoredUser | None]:
        """A user's state (None: unknown), and the release: one round trip, unless the live release has changed.

        ``wait_s``: for a release that is being opened, if nothing else can answer; None: `OPENING_WAIT_S`.
        ``preferred``: a release that answers instead of the live one, once it is open and while it is kept.
        Raises NoReleaseError, ServiceError.
        """
        serving = self._releases.serving
        if serving is None:
            return self._with_user(self.live(users, wait_s), userid, users)
        asked = self.preferred(preferred) or serving
        answer, live = self._asked(userid, asked, users)
        if asked is not serving:
            if live != serving.release:
                self._follow(live)
            if answer.kept:
                return asked, answer.user
            answer, live = self._asked(userid, serving, users)
        if live == serving.release:
            if answer.user is None and not answer.kept:  # not a stranger: Redis has lost what it held
                raise StoredError("redis", f"holds release {serving.release} no longer, although it is live")
            return serving, answer.user
        opening = self._releases.open(live)
        return self._switched(live, opening, serving, answer, userid, users, wait_s)

    def _asked(self, userid: OwnId, opened: OpenRelease, users: Users) -> tuple[UserAnswer, str]:
        """A user under a release, and which one is live. Raises NoReleaseError, ServiceError."""
        answer = users.call(UserQuery.of(userid, opened.manifest))
        self._live, self.forgotten, self.experiments = answer.live, answer.forgotten, answer.experiments
        if answer.live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return answer, answer.live

    def _follow(self, live: str) -> None:
        """Have the new live release opened, and serve once it is."""
        opening = self._releases.open(live)
        if opening.done() and opening.exception() is None:
            self._served(opening, live, 0.0)

    def _switched(
        self,
        live: str,
        opening: Future[OpenRelease],
        old: OpenRelease,
        answer: UserAnswer,
        userid: OwnId,
        users: Users,
        wait_s: float | None,
    ) -> tuple[OpenRelease, StoredUser | None]:
        """The new live release once it is open; until then, and where it cannot be opened, the old one.

        Once the old one is deleted from Redis there is nothing else to answer from, so the request waits for the new
        one, and fails where that cannot be opened.
        """
        old_answers = answer.kept or answer.user is not None
        if old_answers and not opening.done():
            return old, answer.user
        try:
            opened = self._served(opening, live, wait_s)
        except (ServiceError, NoReleaseError):  # the reason is logged where it happened
            if old_answers:
                return old, answer.user
            raise
        return self._with_user(opened, userid, users)

    def instead_of(
        self, failed: OpenRelease, userid: OwnId, users: Users, *, gone: bool, wait_s: float | None
    ) -> tuple[OpenRelease, StoredUser | None] | None:
        """What may answer after a service has failed on ``failed``; None: nothing may.

        The release that is live by now; or the same one with the version of the model that is published by now, when
        what was asked for is ``gone``.
        """
        try:
            live = users.call(WHICH_IS_LIVE).live
            if live is None or (live == failed.release and not gone):
                return None
            if live == failed.release:
                fresh = self._renewed(failed)
            else:
                fresh = self._served(self._releases.open(live), live, wait_s)
            return self._with_user(fresh, userid, users) if fresh else None
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing answers instead of release %s: %s", failed.release, error)
            return None

    def may_be_renewed(self, opened: OpenRelease) -> bool:
        """False while it is known that a release is published with no other version of its model."""
        if self._not_renewed is None:
            return True
        *what, until = self._not_renewed
        return what != [opened.release, opened.model, opened.model_version] or time.monotonic() >= until

    def _renewed(self, failed: OpenRelease) -> OpenRelease | None:
        """The release with its model as published now; None when that is the one that failed."""
        published = self._users.published(failed.release)
        if published is None:
            return None
        model = (published.triton_model, published.triton_version)
        if model == (failed.model, failed.model_version):
            self._not_renewed = (failed.release, *model, time.monotonic() + RENEWED_S)
            return None
        return self._releases.renew(failed.release, *model)

    def _served(self, opening: Future[OpenRelease], release: str, wait_s: float | None) -> OpenRelease:
        """Wait for a release that is being opened, and answer from it from now on."""
        opened = self._opened(opening, release, wait_s)
        if self._last is not None:
            self._background.submit(self._last.keep, opened)
        return self._releases.serve(opened)

    def _opened(self, opening: Future[OpenRelease], release: str, wait_s: float | None) -> OpenRelease:
        """Wait for a release that is being opened."""
        try:
            return opening.result(OPENING_WAIT_S if wait_s is None else wait_s)
        except FutureTimeoutError as error:
            raise OpeningError(release) from error

    def _with_user(self, opened: OpenRelease, userid: OwnId, users: Users) -> tuple[OpenRelease, StoredUser | None]:
        return opened, users.call(UserQuery.of(userid, opened.manifest)).user
