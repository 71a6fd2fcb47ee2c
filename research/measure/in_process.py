"""Run the server's recommender in this process, for users of a holdout: all, or some drawn with a fixed seed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_result, stop_after_delay

from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.replay import Holdout
from offline.readers import read_with_holdout
from online.recommend.recommend import Recommender

SEED: Final = 0
OPENS_WITHIN_S: Final = 60.0  # on a busy machine; usually it takes one second


def parse_users(
    parser: argparse.ArgumentParser, usual: int | None = None
) -> int | None:
    """Number of users that the command line names, or ``usual``; None: all. Raises StepError for what is no number."""
    parser.add_argument(
        "--users",
        default=usual or "all",
        help="how many, drawn at random, or all; default: %(default)s",
    )
    users = str(parser.parse_args().users)
    if users == "all":
        return None
    if not (users.isascii() and users.isdecimal() and int(users)):
        raise StepError(
            f"users={users} is no number of users.", "Name at least 1, or all."
        )
    return int(users)


def sample(n_users: int, size: int | None) -> NDArray[np.intp]:
    """Rows of ``size`` users, ascending, drawn with the fixed seed; of all users if there are no more."""
    if size is None or size >= n_users:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(SEED).choice(n_users, size, replace=False))


def recommender_of(settings: Settings, release: str) -> Recommender:
    """Build a recommender that serves the live release. Raises StepError unless that is ``release``."""
    recommender = Recommender.from_settings(settings)
    not_yet = retry_if_result(lambda live: live is None)
    opening = Retrying(
        stop=stop_after_delay(OPENS_WITHIN_S),
        retry=not_yet,
        retry_error_callback=lambda _: None,
    )

    def opened() -> str | None:
        recommender.releases.follow()
        serving = recommender.releases.active
        return serving.release if serving else None

    live = opening(opened)
    if live != release:
        recommender.close()
        raise StepError(
            f"Release {live} is live, the artifacts are release {release}.",
            "Run `make up sync`.",
        )
    return recommender


@dataclass(frozen=True)
class Requests:
    """A request of each of some users, at the moment of the first held-out rating.

    Attributes:
        userids: own ids of the holdout's users.
        rows: the users with a request.
    """

    holdout: Holdout
    userids: list[OwnId]
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, settings: Settings, size: int | None) -> Requests:
        """Requests of ``size`` users, or of all."""
        inputs = read_with_holdout(settings)
        holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
        own_ids = read_own_ids(settings.artifacts_dir).users
        userids = [own_ids[number] for number in holdout.past.user_numbers.tolist()]
        return cls(holdout, userids, sample(len(userids), size))
