"""Which release answers a request: the live one, or the one before it while the live one is being opened."""

from __future__ import annotations

import logging
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from data_exchange_center.own_ids import OwnId
from online.clients.base import ServiceError
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, StoredUser, UserAnswer, UserQuery
from online.recommend.item_cache import FeatureStore
from online.recommend.open_release import NoReleaseError, OpenRelease, ReleaseReader
from online.recommend.open_releases import OpenReleases

log = logging.getLogger(__name__)

OPENING_WAIT_S = 3.0  # of a request, for a release that is being opened; it takes about one second

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
        self, users: RedisUsers, items: ElasticItems, features: FeatureStore, background: Executor, ttl_s: float
    ) -> None:
        self._users = users
        self._releases = OpenReleases(ReleaseReader(users, items, features, background, ttl_s).read, background)

    @property
    def serving(self) -> OpenRelease | None:
        """The release that requests are answered from; None until the first is open."""
        return self._releases.serving

    @property
    def open_count(self) -> int:
        return len(self._releases)

    def live(self) -> OpenRelease:
        """The live release, opened. Raises NoReleaseError, ServiceError."""
        live = self._users.call(UserQuery(0, None)).live
        if live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return self._served(self._releases.open(live), live)

    def user(self, userid: OwnId) -> tuple[OpenRelease, StoredUser | None]:
        """A user's state (None: unknown), and the release: one round trip, unless the live release has changed.

        Raises NoReleaseError, ServiceError.
        """
        serving = self._releases.serving
        if serving is None:
            return self._with_user(self.live(), userid)
        answer = self._users.call(UserQuery(userid, serving.release))
        if answer.live is None:
            raise NoReleaseError(NOTHING_LIVE)
        if answer.live == serving.release:
            return serving, answer.user
        return self._switched(answer.live, serving, answer, userid)

    def _switched(
        self, live: str, old: OpenRelease, answer: UserAnswer, userid: OwnId
    ) -> tuple[OpenRelease, StoredUser | None]:
        """The new live release once it is open; until then, and where it cannot be opened, the old one.

        Once the old one is deleted from Redis there is nothing else to answer from, so the request waits for the new
        one, and fails where that cannot be opened.
        """
        opening = self._releases.open(live)
        old_answers = answer.kept or answer.user is not None
        if old_answers and not opening.done():
            return old, answer.user
        try:
            opened = self._served(opening, live)
        except (ServiceError, NoReleaseError):  # the reason is logged where it happened
            if old_answers:
                return old, answer.user
            raise
        return self._with_user(opened, userid)

    def instead_of(
        self, failed: OpenRelease, userid: OwnId, *, gone: bool
    ) -> tuple[OpenRelease, StoredUser | None] | None:
        """What may answer after a service has failed on ``failed``; None: nothing may.

        The release that is live by now; or the same one with the version of the model that is published by now, when
        what was asked for is ``gone``.
        """
        try:
            live = self._users.call(UserQuery(0, None)).live
            if live is None or (live == failed.release and not gone):
                return None
            fresh = self._renewed(failed) if live == failed.release else self._served(self._releases.open(live), live)
            return self._with_user(fresh, userid) if fresh else None
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing answers instead of release %s: %s", failed.release, error)
            return None

    def _renewed(self, failed: OpenRelease) -> OpenRelease | None:
        """The release with its model as published now; None when that is the one that failed."""
        published = self._users.published(failed.release)
        if published is None:
            return None
        model = (published.triton_model, published.triton_version)
        return None if model == (failed.model, failed.model_version) else self._releases.renew(failed.release, *model)

    def _served(self, opening: Future[OpenRelease], release: str) -> OpenRelease:
        """Wait for a release that is being opened, and answer from it from now on."""
        try:
            opened = opening.result(OPENING_WAIT_S)
        except FutureTimeoutError as error:
            raise OpeningError(release) from error
        return self._releases.serve(opened)

    def _with_user(self, opened: OpenRelease, userid: OwnId) -> tuple[OpenRelease, StoredUser | None]:
        return opened, self._users.call(UserQuery(userid, opened.release)).user
