"""What a recall channel consists of: a recipe that configures and fits it, and the fitted channel that is served.

A channel either gives vectors, which an index of the items is searched with, or scores the items itself when a request
comes. Training lists, evaluation and server ask the same methods, all of which get the request's time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.requests import Float32, Ints, Requests
from data_exchange_center.channels.shares import Shares
from data_exchange_center.frozen import Frozen, Need
from data_exchange_center.vocabulary import NOT_FOUND as NOT_FOUND

if TYPE_CHECKING:
    from data_exchange_center.recipes import DataRecipe
    from offline.data.sequences import Inputs, Sequences

Arrays = Mapping[str, NDArray[Any]]
EVENTS = 100  # newest events that a channel is given, where it says nothing else


@dataclass(frozen=True, eq=False)
class Channel(ABC):
    """A fitted channel, as it is served. Subclasses are frozen dataclasses of arrays and numbers.

    Attributes:
        form: name of the class within a release.
        name: of the channel.
    """

    form: ClassVar[str]
    name: str

    @property
    def events(self) -> int:
        """How many of a user's newest events the requests bring."""
        return EVENTS

    @abstractmethod
    def scores(self, requests: Requests) -> Float32:
        """(m, items + 1) by item code, the higher the better, never NaN; `NOT_FOUND` for what it does not return.

        Training calls it from a thread of its own.
        """

    def shares(self, requests: Requests, items: Ints) -> Shares | None:
        """What the scores of (k,) item codes consist of, for one request; None where they are no sums.

        Asked of items that it finds, and only where an answer is to be explained.
        """
        return None

    def arrays(self) -> Arrays:
        """All fields but the name, to be stored with the release."""
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self) if each.name != "name"}

    @classmethod
    def of(cls, name: str, arrays: Arrays) -> Self:
        """Inverse of `arrays`; single numbers are numbers again. Raises KeyError when one is absent."""
        stored = {each.name: arrays[each.name] for each in fields(cls) if each.name != "name"}
        return cls(name=name, **{key: value if value.ndim else value.item() for key, value in stored.items()})


class VectorChannel(Channel):
    """A channel whose score of an item is the inner product of a user's and an item's vector: an index finds the best.

    `columns.vector_of` makes the index's field of its name.
    """

    trained: NDArray[np.bool_]  # (items + 1,) False for padding and items it was not trained on: they are not indexed

    @abstractmethod
    def item_vectors(self) -> Float32:
        """(items + 1, d); rows of items that are not ``trained`` mean nothing."""

    @abstractmethod
    def user_vectors(self, requests: Requests) -> Float32:
        """(m, d); NaN for a user about whom it knows nothing, so that all items would score alike."""

    @cached_property
    def _item_vectors(self) -> Float32:
        """Made once, however many requests are scored at a time."""
        return self.item_vectors()

    def scores(self, requests: Requests) -> Float32:
        """Inner products."""
        scores = self.user_vectors(requests) @ self._item_vectors.T
        return np.where(np.isnan(scores) | ~self.trained, NOT_FOUND, scores)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A channel and what its fitting reports, for JSON: "auc" by part and "epochs", each with its "loss", if any."""

    channel: Channel
    report: Mapping[str, Any] = field(default_factory=dict)


class ChannelRecipe(Frozen, ABC):
    """What configures a channel. A kind of channel is a subclass with a ``kind``, named in `registry.KINDS`."""

    needs: ClassVar[frozenset[Need]] = frozenset()  # what a data set must have
    together: ClassVar[bool] = False  # `fit` shares the work among `training.distributed`'s workers; else the first's
    served: ClassVar[type[Channel]]  # what `fit` makes

    kind: str
    name: str
    fusion_weight: float = 1.0  # of the channel's ranks among the channels'

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Raises TypeError for a kind of which the index would hold vectors that nobody searches, or none to search."""
        super().__pydantic_init_subclass__(**kwargs)
        served = getattr(cls, "served", None)
        if served and issubclass(served, VectorChannel) != issubclass(cls, VectorRecipe):
            raise TypeError(f"{cls.__name__}: a VectorRecipe serves a VectorChannel, and only a VectorRecipe does")

    @abstractmethod
    def fit(self, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
        """Fit on ``past``: events of the users and items of ``inputs``, nothing later."""


class VectorRecipe(ChannelRecipe, ABC):
    """A channel that is searched in the index: by vector, and by terms where they have a weight."""

    served: ClassVar[type[VectorChannel]]

    term_weight: float = 0.0  # > 0: an item with one of the user's preferred genres earns this in the same search
    vector_weight: float = 1.0  # of an item's inner product with the user's vector
