"""The process of a server: how a `Recommender` is made, kept up to date and ended."""

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from data_exchange_center.features import Float32
from data_exchange_center.settings import ServerSettings, Settings
from online.clients import base, elastic, feast, redis, triton
from online.recommend import fallback, loaded_release, phases, readiness, registry, types
from online.recommend.last_release import LastRelease

log = logging.getLogger(__name__)

POLL_S, POLL_AGAIN_S = 0.5, 1.0  # interval of `ServerProcess.follow`; after a failure


class ServerProcess:
    """What a process has for all of its requests.

    Attributes:
        phases: the functions of extensions.
        answer_model: `Answer`, with the fields that extensions have added.
    """

    def __init__(
        self, users: redis.RedisUsers, items: elastic.ElasticItems, features: feast.FeatureStore,
        scorer: base.Client[triton.ScoreQuery, Float32], server: ServerSettings, last: LastRelease | None = None,
        encoder: base.Client[triton.EncoderQuery, Float32] | None = None,
    ) -> None:  # fmt: skip
        """``last``: the popular list on disk, for when no service answers; ``encoder``: of channels that have one."""
        self.users, self.items, self.features, self.scorer, self.encoder = users, items, features, scorer, encoder
        self.clients: tuple[base.Client[Any, Any], ...] = (users, items, features, scorer)  # as a request calls them
        self.breakers = {client.service: base.Breaker(client.service) for client in self.clients}
        self.server = server
        self.closed = threading.Event()
        atexit.register(self.closed.set)
        self._background = ThreadPoolExecutor(2, "background")
        self.user_features = feast.UserFeatures(features, self.breakers[features.service])
        self.releases = registry.Registry(users, self._load, self._background, last or LastRelease())
        self.fallbacks = fallback.Fallbacks(self.releases, server)
        self.readiness = readiness.Readiness(self.releases, self.clients, self.breakers)
        self.reset_extensions()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make one with the real clients. Connects to nothing yet: the services may come up later."""
        users, items = redis.RedisUsers(settings.redis), elastic.ElasticItems(settings.elasticsearch)
        features, scorer = feast.FeastFeatures(settings.feast), triton.TritonScores(settings.triton)
        last = LastRelease(settings.service_dir("server") / "last_release.json")
        return cls(users, items, features, scorer, settings.server, last, triton.TritonVectors(scorer))

    def reset_extensions(self) -> None:
        """Remove all functions and fields of extensions."""
        self.phases = phases.Phases()
        self.readiness.notes.clear()
        self.answer_model: type[types.Answer] = types.Answer

    def _load(self, release: str) -> loaded_release.Release:
        server, background = self.server, self._background
        opened = loaded_release.load_release(self.users, self.items, self.features, server, background, release)
        for view in self.phases.release:
            opened = view(opened)
        return opened

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
                except base.ServiceError:
                    pass  # it is logged
                except Exception:
                    log.exception("%s has failed, and is called again", name)
                del method
                closed.wait(pause_s)

        threading.Thread(target=run, name=name, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        atexit.unregister(self.closed.set)
        self.user_features.close()
        self._background.shutdown()
        for client in self.clients:
            client.close()
