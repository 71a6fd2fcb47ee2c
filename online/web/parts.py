"""The server's hook: extras add routes and wrap how a request is answered; the server names none of their code.

An extra is a module with ``register(app: Flask, parts: Parts) -> None``: extras/<name>/hook.py, or a module of another
package, by its dotted name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from flask import Flask
from pydantic import BaseModel

from data_exchange_center.settings import Settings
from online.recommend.recommender import Recommender
from online.recommend.stopwatch import Stopwatch
from online.recommend.types import Recommendation, Request
from online.web.metrics import Metrics

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])


@dataclass
class Parts:
    """The parts of a server that an extra may use, and those that it may replace or add to.

    Attributes:
        stores: name of an extra -> where it keeps what it writes, if not in Redis.
        recommend: answers a request; an extra may put a function around it.
        preferred: a user's id, as text -> the release that is to answer instead of the live one, or None.
        paths: of the OpenAPI document, beside the server's own.
        models: whose schemas the document has, likewise.
    """

    settings: Settings
    recommender: Recommender
    metrics: Metrics
    stores: Mapping[str, Any]
    recommend: Callable[[Request, Stopwatch], Recommendation]
    preferred: Callable[[str], str | None] = lambda userid: None
    paths: dict[str, Any] = field(default_factory=dict)
    models: list[type[BaseModel]] = field(default_factory=list)

    def describe(self, paths: Mapping[str, Any], models: Sequence[type[BaseModel]]) -> None:
        """Add to the OpenAPI document."""
        self.paths |= paths
        self.models += models


def register_extras(app: Flask, parts: Parts, names: Sequence[str]) -> None:
    """Register extras in this order. One that is not installed, or that needs one that is not, is left out."""
    for name in names:
        try:
            extra = import_module(name if "." in name else f"extras.{name}.hook")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "extras":
                raise
            log.warning("the extra %s is left out: there is no %s", name, error.name)
        else:
            extra.register(app, parts)


def only_reads(view: View) -> View:
    """Mark a POST that changes nothing. Any other one counts as a write, which needs a key."""
    view.only_reads = True  # type: ignore[attr-defined]
    return view


def open_at_first(view: View) -> View:
    """Mark a view that writes, but needs a key only once a first one was handed out, from then on."""
    view.open_at_first = True  # type: ignore[attr-defined]
    return view
