"""Events that an earlier version kept, which did not note of which data set they are.

They count for none until somebody names it. But whom that version was asked to forget must not come back meanwhile, so
nothing is trained or loaded before.
"""

from __future__ import annotations

from collections.abc import Collection

from data_exchange_center.event_parts import EventParts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError


def unnamed_parts(settings: Settings) -> EventParts:
    """Those that were brought to Parquet: their files lay where the data sets' folders are now."""
    return EventParts(settings.service_dir("events"))


def expect_named(forgotten: Collection[str]) -> None:
    """``forgotten``: own ids of users who were forgotten of an unknown data set. Raises StepError if there are any."""
    if forgotten:
        users = "1 user" if len(forgotten) == 1 else f"{len(forgotten):,} users"
        raise StepError(
            f"an earlier version was asked to forget {users} and did not note of which data set: to go on could bring "
            "them back. Say which one it is: make name-events dataset=<name>, as `make offline` printed it first. Then "
            "run this again."
        )
