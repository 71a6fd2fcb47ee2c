"""Phases: where extensions act on a request, in this order.

An extension appends a function to a phase: ``recommender.phases.rerank.append(by_stock)``. Within a phase functions run
in the order in which extensions register: `online.main.s1_server.EXTRAS`, then those of other packages. One that serves
a field of requests runs only for requests that have it: ``phases.rerank.append(by_stock, "in_stock")``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from data_exchange_center.candidates import Candidates, StoredUser
from online.recommend.loaded_release import Release
from online.recommend.types import Request, Slate

Act = TypeVar("Act", bound=Callable[..., Any])


@dataclass(slots=True, eq=False)
class Hook(Generic[Act]):
    """A function in a phase. An extension may turn ``needed`` off while there is nothing to do for any request."""

    act: Act
    # of requests that it acts on: those that give one of these; empty: all requests
    fields: frozenset[str]
    needed: bool = True


class Phase(Generic[Act]):
    """The functions of one phase."""

    def __init__(self) -> None:
        self.hooks: list[Hook[Act]] = []

    def append(self, act: Act, *fields: str) -> Hook[Act]:
        """Add a function, for all requests or those that give one of some ``fields``."""
        hook = Hook(act, frozenset(fields))
        self.hooks.append(hook)
        return hook


@dataclass(frozen=True)
class Phases:
    """The functions of extensions, by phase."""

    # a release that was just loaded, before it answers
    release: list[Callable[[Release], Release]] = field(default_factory=list)
    # the user's state from Redis, None: unknown; a request may bring one of its own
    state: Phase[Callable[[Request, Release, StoredUser | None], StoredUser | None]] = (
        field(default_factory=Phase)
    )
    # the state before its events are applied to history and seen items: which of them count
    history: Phase[
        Callable[[Request, Release, StoredUser | None], StoredUser | None]
    ] = field(default_factory=Phase)
    # the state that recall searches for: further seen items, or the only ones that may be found
    recall: Phase[Callable[[Request, Release, StoredUser], StoredUser]] = field(
        default_factory=Phase
    )
    # how many candidates there have to be, if not the request's size: popular items complete a shorter list
    enough: Phase[Callable[[Request], int]] = field(default_factory=Phase)
    # what recall has found, before it is ranked
    candidates: Phase[
        Callable[[Request, Release, StoredUser, Candidates], Candidates]
    ] = field(default_factory=Phase)
    # the ranked or popular list: other orders, fewer items
    rerank: Phase[Callable[[Slate], None]] = field(default_factory=Phase)
    # the items that are shown (`Slate.items`): what is recorded of them
    page: Phase[Callable[[Slate], None]] = field(default_factory=Phase)
    # further fields of the answer
    annotate: Phase[Callable[[Slate], None]] = field(default_factory=Phase)
