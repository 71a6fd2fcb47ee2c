"""The four services as one request may use them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from online.clients.base import Answer, Client, Query
from online.clients.breaker import Asking, Breaker
from online.clients.deadline import Deadline
from online.clients.elastic import ElasticItems
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers
from online.clients.triton import ScoreQuery
from online.recommend.stopwatch import Stopwatch
from online.recommend.types import Request

# Of what is left when a stage begins. Redis usually takes 1 % of its share, and leaves the rest to those after it.
STATE_SHARE = 0.4  # Redis
RECALL_SHARE = 0.6  # Elasticsearch, and Feast beside it
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, and by when it is to be answered."""

    request: Request
    deadline: Deadline
    watch: Stopwatch
    hurried: bool = False  # the caller has given it less time than the server's own budget
    preferred: str | None = None  # the release that is to answer instead of the live one, where it can

    @property
    def strict(self) -> bool:
        return self.request.strict


@dataclass(frozen=True)
class Services:
    """The clients, a breaker for each. Shared by threads."""

    users: RedisUsers
    items: ElasticItems
    features: Client[FeatureQuery, FeatureRows]
    scorer: Client[ScoreQuery, NDArray[np.float32]]
    breakers: dict[str, Breaker] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "breakers", {client.service: Breaker(client.service) for client in self.all})

    @property
    def all(self) -> tuple[Client[object, object], ...]:
        """In the order in which a request asks them."""
        return (self.users, self.items, self.features, self.scorer)  # type: ignore[return-value]

    def asking(self, client: Client[Query, Answer], turn: Turn, share: float) -> Asking[Query, Answer]:
        """``share``: of what is left of the request's time."""
        return Asking(client, self.breakers[client.service], turn.deadline.share(share), turn.strict, turn.hurried)

    def close(self) -> None:
        for client in self.all:
            client.close()
