"""The shape of the four stores that hold releases side by side: load, check, activate, delete."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

import elasticsearch
from elastic_transport.client_utils import DEFAULT
from elasticsearch.serializer import OrjsonSerializer

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from online.clients.base import ServiceError, StoredError
from online.clients.redis import Connected, connect

TIMEOUT_S: Final = 30.0  # loading moves thousands of rows a call; the server's own timeouts are for one user's row
READY_S: Final = 60.0
START_SERVICES: Final = "Start the services with `make up`, see `make status` and `make logs`, and run this step again."


class ReleaseStore(ABC):
    """A service that holds releases side by side, each under names of its own.

    Each store has a ``load`` and a ``check`` for its step; Triton's ``load`` does both. A release is marked as checked
    once everything that was loaded has been read back and compared with its source, a model once it answers. Loading
    it again, which is safe while the release is served, removes the mark first. Without it a release does not go live.

    Every method raises StepError, naming the service and its address, when a request to the service fails.
    """

    title: ClassVar[str]  # the service's name in a sentence
    step: ClassVar[str]  # path of the step that loads it
    errors: ClassVar[tuple[type[Exception], ...]] = ()  # of the service's library

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def address(self) -> str:
        """Address of the service, for messages."""

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn the errors of the service's clients into a StepError that names the service and says what to do."""
        try:
            yield
        except ServiceError as error:
            remedy = (
                "Load the release again: `make sync`."
                if isinstance(error, StoredError)
                else START_SERVICES
            )
            raise StepError(
                f"{self.title} at {self.address} {error.what}", remedy
            ) from error
        except self.errors as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise StepError(
                f"{self.title} at {self.address} failed ({reason})", START_SERVICES
            ) from error

    @abstractmethod
    def is_checked(self, release: str) -> bool:
        """Whether the release is whole and passed its check when it was last loaded."""

    @abstractmethod
    def releases(self) -> set[str]:
        """Ids of the releases that have anything here, whole or not."""

    @abstractmethod
    def delete(self, releases: Collection[str]) -> None:
        """Delete all that these releases have here, and what interrupted loads have left behind."""

    # Only some stores override the following.

    def wait_until_served(self, release: str) -> None:  # noqa: B027
        """Wait until the service answers for a checked release. Raises StepError when it does not in time."""

    def activate(self, release: str) -> None:  # noqa: B027
        """Point the names that carry no release (pointer, alias, plain service names) to this one."""


def patient(settings: Settings, timeout_s: float = TIMEOUT_S) -> Settings:
    """Return settings with timeouts long enough for a load, for the server's own clients."""
    services = ("redis", "elasticsearch", "feast", "triton")
    longer = {
        name: getattr(settings, name).model_copy(update={"timeout_s": timeout_s})
        for name in services
    }
    return settings.model_copy(update=longer)


def redis_client(settings: Settings) -> Connected:
    """Return a client for database 0, where the user state lives."""
    return connect(settings.redis, timeout_s=TIMEOUT_S)


def elastic_client(
    settings: Settings, timeout_s: float = TIMEOUT_S
) -> elasticsearch.Elasticsearch:
    """Return a client without retries, except on another node of a cluster when one cannot be reached."""
    place = settings.elasticsearch
    return elasticsearch.Elasticsearch(
        list(place.urls),
        basic_auth=place.login,
        ca_certs=str(place.ca_certs) if place.ca_certs else DEFAULT,
        request_timeout=timeout_s,
        max_retries=len(place.urls) - 1,
        retry_on_timeout=False,
        serializers={
            "application/json": OrjsonSerializer()
        },  # hundreds of hits an answer
    )
