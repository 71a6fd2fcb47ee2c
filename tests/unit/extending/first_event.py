"""Statistic: the days since the user's first event, at the request."""

from __future__ import annotations

import numpy as np

from data_exchange_center.feature_kinds import NEVER, ElapsedFeature
from offline.data.sequences import Ints, Sequences
from offline.data.statistics import UserStatistic


def first_event(events: Sequences, users: Ints, counts: Ints) -> Ints:
    """The second of the user's first event, once there is one."""
    moments, begun = np.full(len(users), NEVER), counts > 0
    moments[begun] = events.times[events.starts[users[begun]]]
    return moments


FIRST_EVENT = UserStatistic(
    ElapsedFeature(name="first_event", entity="user", scale=5.0, transform="log1p"), first_event
)
