"""The server's hook: extras add routes and wrap how a request is answered; the server names none of their code.

An extra is a function ``register(app: Flask, parts: Parts) -> None`` that an entry point of the group recsys.server
names: one of extras/<name>/hook.py, or of another package.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, create_model

from data_exchange_center import plugins
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from online.recommend.loaded_release import Release
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request, Stopwatch
from online.web import guard

log = logging.getLogger(__name__)

InOrder = Callable[[Release, NDArray[np.integer]], NDArray[np.intp]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass
class Parts:
    """The parts of a server that an extra may use, and those that it may replace or add to.

    Where extras act on a request is in `online.recommend.phases`.

    Attributes:
        stores: name of an extra -> where it keeps its data, if not in Redis.
        observers: called with the record of each request that has its response, in this order.
        registry: of metrics, which extras/monitoring shows.
        recommend: answers a request; an extra may put a function around it.
        preferred: a user's id, as text -> the release that is to answer instead of the live one, or None.
        in_order: (release, item numbers) -> indices into them, best first, without items that nobody is shown.
        request_model: validates a request.
        paths: of the OpenAPI document, in addition to the server's own.
        models: whose schemas the document has, likewise.
    """

    settings: Settings
    recommender: Recommender
    stores: Mapping[str, Any]
    observers: list[guard.Observer]
    recommend: Callable[[Request, Stopwatch], Answer]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    preferred: Callable[[str], str | None] = lambda userid: None
    in_order: InOrder = lambda opened, item_numbers: np.arange(len(item_numbers))
    request_model: type[Request] = Request
    paths: dict[str, Any] = field(default_factory=dict)
    models: list[type[BaseModel]] = field(default_factory=list)

    def extend_request(self, fields: type[Request]) -> None:
        """Add a subclass's fields to requests."""
        self.request_model = _extended(self.request_model, fields)

    def extend_answer(self, fields: type[Answer]) -> None:
        """Add a subclass's fields to answers; `Slate.more` fills them."""
        self.recommender.answer_model = _extended(self.recommender.answer_model, fields)

    def describe(
        self, paths: Mapping[str, Any], models: Sequence[type[BaseModel]]
    ) -> None:
        """Add to the OpenAPI document."""
        self.paths |= paths
        self.models += models


class UnguardedError(RecsysError):
    """The settings require keys or rates, and the extra that checks them is not enabled."""


def _extended(model: type[Model], fields: type[Model]) -> type[Model]:
    """A model with the fields that a subclass of its base declares; those of earlier subclasses stay as they are."""
    own = vars(fields)["__annotations__"]
    kept: dict[str, Any] = {
        name: (each.annotation, each)
        for name, each in model.model_fields.items()
        if name not in own
    }
    extended: type[Model] = create_model(
        model.__name__, __base__=(fields, model), __doc__=model.__doc__, **kept
    )
    return extended


def named(setting: str, there: Sequence[str]) -> tuple[str, ...]:
    """Names of ``there`` that the setting lists, in their order, each once; then unknown names.

    "all" stands for all of them, "none" for nothing.
    """
    names = dict.fromkeys(
        name.strip() for name in setting.split(",") if name.strip() != "none"
    )
    known = [name for name in there if "all" in names or name in names]
    return (*known, *(name for name in names if name not in there and name != "all"))


def register_extras(app: Flask, parts: Parts, own: Sequence[str]) -> None:
    """Register the extras that the settings name, those of this repository in the order of ``own``, then others.

    One whose folder is not here, or that needs one that is not, is left out with a warning. Raises PluginError for an
    unknown name in the settings, and UnguardedError where these require keys or rates and `extras.keys` is left out.
    """
    there = plugins.find(plugins.SERVER)
    every = [
        *(name for name in own if name in there),
        *(name for name in there if name not in own),
    ]
    registered = []
    for name in named(parts.settings.server.extras, every):
        if name in own and name not in there:
            log.warning(
                "the extra %s is left out: its folder is not here, or it is new: run make setup",
                name,
            )
            continue
        try:
            register = plugins.load(plugins.SERVER, name)
        except plugins.PluginError as error:
            raise plugins.PluginError(f"RECSYS_SERVER__EXTRAS: {error}") from error
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "extras":
                raise
            log.warning("the extra %s is left out: there is no %s", name, error.name)
        else:
            register(app, parts)
            registered.append(name)
    server, problem = parts.settings.server, ""
    if server.keys_for == "all" or server.rate:
        problem = "RECSYS_SERVER__KEYS_FOR=all and RECSYS_SERVER__RATE need"
    elif parts.settings.keys_file.exists():
        problem = f"The file of keys, {parts.settings.keys_file}, needs"
    elif server.reads_need_key:
        problem = "A server open to other machines, where RECSYS_SERVER__KEYS_FOR=writes does not open reading, needs"
    if problem and "keys" not in registered:
        raise UnguardedError(
            f"{problem} the extra keys, which is not enabled: name it in RECSYS_SERVER__EXTRAS."
        )
