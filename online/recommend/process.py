"""The process of a server: how a `Recommender` is made, warmed up, kept up to date and ended."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import Breaker, Client, Deadline, ServiceError, until
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.fallback import Fallbacks
from online.recommend.last_release import LastRelease
from online.recommend.loaded_release import Release, load_release
from online.recommend.phases import Phases
from online.recommend.rank import UserFeatures
from online.recommend.readiness import HOT, WARM, Readiness, warm_up_elasticsearch
from online.recommend.registry import Registry
from online.recommend.types import Answer, NoReleaseError

log = logging.getLogger(__name__)

POLL_S, POLL_AGAIN_S = 0.5, 1.0  # interval of `ServerProcess.follow`; after a failure
_IDLE = 10  # pause after each search of the background warm-up, in durations of that search


class ServerProcess:
    """What a process has for all of its requests.

    Attributes:
        phases: the functions of extensions.
        answer_model: `Answer`, with the fields that extensions have added.
    """

    def __init__(
        self, users: RedisUsers, items: ElasticItems, features: Client[FeatureQuery, FeatureRows],
        scorer: Client[ScoreQuery, NDArray[np.float32]], server: ServerSettings, last: LastRelease | None = None,
    ) -> None:  # fmt: skip
        """``last``: the popular list on disk, for when no service answers."""
        self.users, self.items, self.features, self.scorer = users, items, features, scorer
        self.clients: tuple[Client[Any, Any], ...] = (users, items, features, scorer)  # as a request calls them
        self.breakers = {client.service: Breaker(client.service) for client in self.clients}
        self.server = server
        self.closed = threading.Event()
        atexit.register(self.closed.set)
        self._background = ThreadPoolExecutor(2, "background")
        self.user_features = UserFeatures(features, self.breakers[features.service])
        self.releases = Registry(users, self._load, self._background, last)
        self.fallbacks = Fallbacks(self.releases, server)
        self.readiness = Readiness(self.releases, self.clients, self.breakers)
        self.reset_extensions()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make one with the real clients. Connects to nothing yet: the services may come up later."""
        users, items = RedisUsers(settings.redis), ElasticItems(settings.elasticsearch)
        features, scorer = FeastFeatures(settings.feast), TritonScores(settings.triton)
        last = LastRelease(settings.service_dir("server") / "last_release.json")
        return cls(users, items, features, scorer, settings.server, last)

    def reset_extensions(self) -> None:
        """Remove all functions and fields of extensions."""
        self.phases = Phases()
        self.answer_model: type[Answer] = Answer

    def _load(self, release: str) -> Release:
        opened = load_release(self.users, self.items, self.features, self.server, self._background, release)
        for view in self.phases.release:
            opened = view(opened)
        return opened

    def warm_up(self) -> Future[None]:
        """Load the active release in the background, if there is one, and warm Elasticsearch up."""
        return self._background.submit(self._warm_up)

    def _warm_up(self) -> None:
        try:  # wait until it answers, so that a worker without requests so far can answer while the next one is loaded
            opened = self.releases.get_active(threading.TIMEOUT_MAX)
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing to serve yet: %s", error)
            return
        if self.server.warm_up_s:
            search = partial(warm_up_elasticsearch, self.users, self.items, opened)
            with until(over := Deadline.after(self.server.warm_up_s)):
                search(WARM, lambda took_s: over.left() > 0, patient=True)
            # then slowly in the background, while requests are answered
            quietly = HOT, lambda took_s: not self.closed.wait(_IDLE * took_s)
            threading.Thread(target=search, args=quietly, name="warm-up", daemon=True).start()

    def follow(self, look: Callable[[], bool]) -> None:
        """Poll a method every `POLL_S` seconds, on a thread that ends with its object or the server.

        ``look``: checks for changes by other processes; False, or an exception, means failure (`POLL_AGAIN_S`).
        """
        weak, closed, name = weakref.WeakMethod(look), self.closed, look.__qualname__

        def run() -> None:
            while not closed.is_set() and (method := weak()) is not None:
                pause_s = POLL_AGAIN_S
                try:
                    pause_s = POLL_S if method() else POLL_AGAIN_S
                except ServiceError:
                    pass  # it is logged
                except Exception:
                    log.exception("%s has failed, and is called again", name)
                del method
                closed.wait(pause_s)

        threading.Thread(target=run, name=name, daemon=True).start()

    def forget(self, userid: OwnId) -> None:
        """Drop a user's cached state and features from this process; the services' data is not touched."""
        self.fallbacks.known.forget(userid)

    def close(self) -> None:
        self.closed.set()
        atexit.unregister(self.closed.set)
        self.user_features.close()
        self._background.shutdown()
        for client in self.clients:
            client.close()
