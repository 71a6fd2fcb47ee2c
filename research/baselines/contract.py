"""Baseline interface: lists fitted on a past with a setting, and the settings that are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout

SIZE: Final = 256  # of a list: as many as the recipe's channels give, more than are measured
Setting = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Fitted:
    """Lists of a fitted baseline.

    Attributes:
        lists: (users, `SIZE`) codes, best first, nothing that the request knows; 0 pads.
        seconds: of training, without inference.
    """

    lists: Lists
    seconds: float


@dataclass(frozen=True, eq=False)
class Rival:
    """A recommender with settings.

    Attributes:
        first: the setting that is tried first.
        others: setting -> other values, in the order that they are tried.
        fit: trains on the past of a holdout, with one setting, and answers all its requests.
        rounds: of the search, at most: how often each setting is looked at again.
    """

    name: str
    first: Setting
    others: Mapping[str, Sequence[Any]]
    fit: Callable[[Holdout, Setting], Fitted]
    rounds: int = 3
