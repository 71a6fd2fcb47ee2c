"""The stages of a request, and what each does when its service does not answer.

A strict request is given the error instead. So is one that asks for something that is `GoneError` for the first time:
then there may be a newer release to answer from, which is better than doing without.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from data_exchange_center.columns import Columns
from online.clients.base import GoneError, ServiceError, StoredError
from online.clients.deadline import Deadline, until
from online.clients.redis import StoredUser, UserQuery
from online.recommend.known_users import KnownUsers
from online.recommend.open_release import NoReleaseError, OpenRelease
from online.recommend.rank import encoded_user, rank, unranked
from online.recommend.recall import popular_unseen, recall
from online.recommend.releases import Releases
from online.recommend.services import RECALL_SHARE, SCORES_SHARE, STATE_SHARE, Services, Turn
from online.recommend.types import (
    MAX_BUDGET_MS,
    Candidates,
    Degraded,
    Outcome,
    Ranked,
    UnknownReleaseError,
    check_userid,
)
from online.recommend.user_features import Asked, UserFeatures

log = logging.getLogger(__name__)


class Stages:
    """Shared by the threads of a process."""

    def __init__(self, services: Services, releases: Releases, features: UserFeatures, known: KnownUsers) -> None:
        self._services = services
        self._releases = releases
        self._features = features
        self._known = known

    def state(self, turn: Turn) -> tuple[OpenRelease, StoredUser | None, tuple[Degraded, ...]]:
        """The release, and the user's state: from Redis (None: unknown there), or the one last known.

        Where there is none either, None and a `Degraded` that says so. A request that names its release gets that one
        or an error. Raises ServiceError, NoReleaseError, UnknownReleaseError, WrongIdError.
        """
        if turn.request.release is not None:
            return *self._named(turn, turn.request.release), ()
        userid, users = turn.request.userid, self._services.asking(self._services.users, turn, STATE_SHARE)
        forgotten = self._known.forgotten
        try:
            with turn.watch.stage("redis"):
                opened, user = self._releases.user(userid, users, self._wait_s(turn), turn.preferred)
            self._known.follow(self._releases.forgotten)
        except (ServiceError, NoReleaseError) as error:
            serving = self._releases.preferred(turn.preferred)
            if turn.strict or serving is None:
                raise
            state = self._known.state(serving.release, userid)
            return serving, state, (lacks(error, Outcome.LAST_STATE if state else Outcome.POPULAR),)
        if user is not None:
            self._known.keep_state(opened.release, userid, user, forgotten)
        else:
            self._known.forget(userid, opened.release)
        return opened, user, ()

    def _named(self, turn: Turn, release: str) -> tuple[OpenRelease, StoredUser | None]:
        userid = turn.request.userid
        users = self._services.asking(self._services.users, turn, STATE_SHARE)
        with turn.watch.stage("redis"):
            opened = self._releases.named(release, None if turn.strict else turn.deadline.share(STATE_SHARE).left())
            check_userid(userid, opened.user_ids)
            answer = users.call(UserQuery.of(userid, opened.manifest))
        if answer.user is None and not answer.kept:
            raise UnknownReleaseError(release)
        return opened, answer.user

    def _wait_s(self, turn: Turn) -> float | None:
        """How long a request waits for a release that is being opened: not at all while another one can answer."""
        if turn.strict or not self._releases.something_to_answer_with:
            return None
        return 0.0 if self._releases.serving else turn.deadline.share(0.5).left()

    def of_another_kind(self, turn: Turn, opened: OpenRelease) -> tuple[OpenRelease, StoredUser | None]:
        """The release that is going live, for an id of another kind than this one's: nothing else can answer it.

        Raises WrongIdError, and NoReleaseError while it is not known of which kind the other release's ids are.
        """
        if self._releases.is_live(opened):  # so that no other is going live
            check_userid(turn.request.userid, opened.user_ids)
        patient = replace(turn, deadline=Deadline.after(MAX_BUDGET_MS / 1e3), hurried=False)
        users = self._services.asking(self._services.users, patient, STATE_SHARE)
        userid = turn.request.userid
        found = self._releases.instead_of(opened, userid, users, gone=False, wait_s=None)
        if found is None:
            raise NoReleaseError(
                f"Release {opened.release} has no user {userid!r}, and the one that is going live "
                "cannot be read yet. Please ask again."
            )
        fresh, user = found
        check_userid(userid, fresh.user_ids)
        return fresh, user

    def instead_of(
        self, turn: Turn, failed: OpenRelease, error: ServiceError
    ) -> tuple[OpenRelease, StoredUser | None] | None:
        """What may answer after a service has failed on ``failed``, as `Releases.instead_of`; not for a named one."""
        if turn.request.release is not None:
            return None
        users = self._services.asking(self._services.users, turn, STATE_SHARE)
        wait_s = None if turn.strict else turn.deadline.share(0.5).left()
        gone = isinstance(error, GoneError)
        with until(turn.deadline):
            return self._releases.instead_of(failed, turn.request.userid, users, gone=gone, wait_s=wait_s)

    def ranked(self, turn: Turn, opened: OpenRelease, user: StoredUser, *, last_try: bool) -> tuple[Ranked, Candidates]:
        """A user's candidates, ranked. Raises ServiceError for a strict request, and for what is gone; see above."""
        last_try = last_try or not self._releases.may_be_renewed(opened)
        release, userid, stored = opened.release, turn.request.userid, user
        user = opened.current(stored, turn.request.before)
        asked = self._ask_features(turn, opened, user)
        candidates = self._candidates(turn, opened, user, last_try)
        try:
            features = encoded_user(opened.spec, self._features.result(asked)) if asked else opened.unknown_user
            if features is not None and asked:
                self._known.keep_features(release, userid, features)
        except ServiceError as error:
            _raise_if_told(turn, error, last_try)
            known = self._known.features(release, userid)
            if known is None:
                return unranked(candidates, lacks(error, Outcome.NOT_RANKED)), candidates
            features = known
            candidates = replace(candidates, lacking=(*candidates.lacking, lacks(error, Outcome.LAST_FEATURES)))
        if features is not None and stored.events:
            features = features.having(Columns.N_RATINGS, [len(opened.current(stored, None).history)])
        scorer = self._services.asking(self._services.scorer, turn, SCORES_SHARE)
        try:
            with turn.watch.stage("triton"):
                return rank(scorer, opened, features, user.history, candidates, turn.request.timestamp), candidates
        except ServiceError as error:
            _raise_if_told(turn, error, last_try)
            return unranked(candidates, lacks(error, Outcome.NOT_RANKED)), candidates

    def _ask_features(self, turn: Turn, opened: OpenRelease, user: StoredUser) -> Asked | None:
        """Start fetching a user's features; None for a stranger, who has none."""
        if not user.number:
            return None
        deadline = turn.deadline.share(RECALL_SHARE)
        asked = self._features.ask(opened.release, user.number, deadline, strict=turn.strict, hurried=turn.hurried)
        asked.rows.add_done_callback(turn.watch.until_done("feast"))
        return asked

    def _candidates(self, turn: Turn, opened: OpenRelease, user: StoredUser, last_try: bool) -> Candidates:
        items = self._services.asking(self._services.items, turn, RECALL_SHARE)
        try:
            with turn.watch.stage("elasticsearch"):
                return recall(items, opened, user, turn.request.timestamp)
        except ServiceError as error:
            _raise_if_told(turn, error, last_try)
            try:
                found = recall(opened.exact, opened, user, turn.request.timestamp)
            except StoredError as unusable:  # all but the seen items
                return popular_unseen(opened, user, lacks(unusable, Outcome.NO_RECALL))
            return replace(found, lacking=(lacks(error, Outcome.EXACT_SEARCH), *found.lacking))


def lacks(error: ServiceError | NoReleaseError, outcome: Outcome) -> Degraded:
    """What an answer lacks because of an error. Releases are known by Redis."""
    if isinstance(error, ServiceError):
        return Degraded(outcome, error.service, error.what)
    return Degraded(outcome, "redis", f"names no release that can answer ({error.problem.rstrip('.')})")


def _raise_if_told(turn: Turn, error: ServiceError, last_try: bool) -> None:
    if turn.strict or (isinstance(error, GoneError) and not last_try):
        raise error
