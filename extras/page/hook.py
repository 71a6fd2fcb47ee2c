"""The page for people; the look-ups that it needs: users, their histories, items by title, releases; and going back.

The page's files are as they are: they need no build and no other server.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Final, Literal
from weakref import WeakKeyDictionary

import numpy as np
from flask import Blueprint, Flask, Response, request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import MAX_BYTES, Effect, OwnId, own_id
from data_exchange_center.history import History
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem
from online.clients.redis import COMPARED_USERS, StoredUser
from online.clients.redis import UserQuery as StateQuery
from online.recommend.recommend import Recommender
from online.recommend.release import Release
from online.recommend.types import RELEASE, Request, WrongIdError, read_id
from online.web.guard import parse_query
from online.web.openapi import KEY, operation, parameters, responses, text
from online.web.parts import Parts

FILES_PATH: Final = "/page"
# The page's own files, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TRIED_USERS: Final = 100  # of a release, to find one who was not forgotten
_ROUNDING: Final = 1e-5  # a length that is a rounding error
_FURTHEST: Final = 99.5  # percent of the items lie within -1 to 1; the few beyond are put on the edge
MOST_ITEMS: Final = 20_000  # on the map: a browser draws no more, and these take a second or two to put together


def register(app: Flask, parts: Parts) -> None:
    """`/` and its files; `/ml/users`, `/ml/history`, `/ml/items`, `/ml/map`, `/ml/releases`."""
    page = Blueprint("page", __name__, static_folder="static", static_url_path=FILES_PATH)

    @page.get("/")
    def index() -> Response:
        return page.send_static_file("index.html")

    @page.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.register_blueprint(page)
    parts.describe({"/": {"get": operation("page", "The page for people", text("A page.", "text/html"))}}, [])

    def look_up(
        name: str, summary: str, query: type[BaseModel], answer: type[BaseModel], find: Callable[..., Any]
    ) -> None:
        """Serve a look-up under its name, and describe it."""

        def found() -> Response:
            given = find(parse_query(query, request.args))
            content = given if isinstance(given, str) else given.model_dump_json()
            return Response(content, mimetype="application/json")

        app.add_url_rule(f"/ml/{name}", name, found)
        errors = responses(answer, 400, 401, 404, 429, 500, 503)
        described = operation(name, summary, errors, security=KEY, parameters=parameters(query))
        parts.describe({f"/ml/{name}": {"get": described}}, [answer])

    browse = Browse(parts.recommender)
    look_up("users", "Users to choose from, with the number of their events", UsersQuery, Users, browse.users)
    look_up("history", "What a user has done, newest first", UserQuery, UserHistory, browse.history)
    look_up("items", "Items by words of their titles", ItemsQuery, Items, browse.items)
    look_up("map", "Items on a plane, by their vectors", MapQuery, ItemMap, browse.item_map)
    look_up("releases", "The releases that a request can name", NoQuery, KeptReleases, browse.releases)

    @app.post("/ml/releases/<release>/activate")
    def activate(release: str) -> Response:
        activated = browse.activate(parse_query(Activation, {"release": release}).release)
        return Response(activated.model_dump_json(), mimetype="application/json")

    described = operation(
        "activate",
        "Serve an earlier release again, once it has answered through all services",
        responses(Activated, 400, 401, 404, 411, 429, 500, 503),
        parameters=parameters(Activation, "path"),
        security=[{"key": []}],
    )
    parts.describe({"/ml/releases/{release}/activate": {"post": described}}, [Activated])


# ----------------------------------------------------------------------------------------------------------- queries

ReleaseId = Annotated[str, Field(pattern=RELEASE)]
Q: Final = f"text of at most {MAX_BYTES} characters that their ids begin with; the user whose id it is comes first"
FEWEST: Final = (
    "true: those with the fewest events first (where ids must begin with q: of the first "
    f"{COMPARED_USERS:,} of these); false: in the order of the ids' text"
)
_RELEASE = "a release's id: twelve characters, 0-9 and a-f"


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[ReleaseId | None, Field(description=f"{_RELEASE}; the live one if not given")] = None


class UsersQuery(_Query):
    """Users to choose from."""

    q: Annotated[str, Field(max_length=MAX_BYTES, description=Q)] = ""
    fewest: Annotated[bool, Field(description=FEWEST)] = False
    size: Annotated[int, Field(ge=1, le=100, description="how many, 1 to 100")] = 20


class UserQuery(_Query):
    """One user's history."""

    userid: Annotated[str, Field(min_length=1, max_length=MAX_BYTES, description="the user's own id")]
    size: Annotated[int, Field(ge=1, le=1000, description="how many events, 1 to 1000")] = 100


class ItemsQuery(_Query):
    """Items by title."""

    q: Annotated[str, Field(min_length=1, max_length=100, description="words of the title, up to 100 characters")]
    size: Annotated[int, Field(ge=1, le=50, description="how many, 1 to 50")] = 10


class MapQuery(_Query):
    """Items on a plane."""


class NoQuery(BaseModel):
    """No parameter."""


class Activation(BaseModel):
    """Which release is to be served from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[ReleaseId, Field(description=_RELEASE)]


# ----------------------------------------------------------------------------------------------------------- answers


class ShownItem(BaseModel):
    """An item, with what the data set says of it."""

    model_config = ConfigDict(extra="allow")

    itemid: OwnId
    title: str


class PastEvent(ShownItem):
    """An item that a user has had to do with."""

    value: float = Field(description="as the data set has it: a rating")
    liked: bool
    timestamp: int = Field(description="seconds since 1970-01-01 UTC")


class SomeUser(BaseModel):
    """A user to choose."""

    userid: OwnId
    events: int


class Users(BaseModel):
    """Some users of a release."""

    release: str
    users: list[SomeUser]


class UserHistory(BaseModel):
    """What a user has done, newest first."""

    userid: OwnId
    release: str
    known: bool = Field(description="false: a stranger")
    events: int = Field(description="in all")
    last: int | None = Field(description="when the newest was, in seconds since 1970-01-01 UTC")
    item_list: list[PastEvent]


class Items(BaseModel):
    """Items whose titles match, best first."""

    release: str
    item_list: list[ShownItem]


class PlacedItem(ShownItem):
    """An item and its place."""

    x: float = Field(ge=-1, le=1)
    y: float = Field(ge=-1, le=1)


class ItemMap(BaseModel):
    """Items on a plane: near to each other where their vectors point the same way."""

    release: str
    channel: str = Field(description="whose vectors these are")
    item_list: list[PlacedItem] = Field(description="the most popular of those that have a vector")


class KeptRelease(BaseModel):
    """A release that can be named in a request."""

    release: str
    live: bool
    recipe: str
    dataset: str
    channels: list[str]
    ranker: str
    levels: list[float] = Field(description="the values that ratings have")
    positive_level: int = Field(description="how many of them, from the lowest, are no liking")
    event_types: dict[str, Effect] = Field(description="what `/ml/event` takes, and what each does")


class KeptReleases(BaseModel):
    """The live release and the one before it, newest activation first."""

    releases: list[KeptRelease]


class Activated(BaseModel):
    """A release is served from now on."""

    release: str
    live: Literal[True]


# ----------------------------------------------------------------------------------------------------------- look-ups


class Browse:
    """Over the releases that the server answers from. Shared by threads."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._releases = recommender.releases
        self._users = recommender.users
        self._maps: WeakKeyDictionary[Release, str] = WeakKeyDictionary()
        self._titles: WeakKeyDictionary[Release, TitleSearch] = WeakKeyDictionary()

    def users(self, query: UsersQuery) -> Users:
        """Some users with the number of their events. Raises ServiceError, NoReleaseError, UnknownReleaseError."""
        opened = self._opened(query.release)
        text = query.q.strip() if opened.user_ids == "integer" else query.q
        found = self._some_users(opened, query.size, text, fewest=query.fewest)
        users = [SomeUser(userid=own_id(each, opened.user_ids), events=n) for each, n in found if each != text]
        if (exact := self._exactly(opened, text)) is not None:
            users.insert(0, exact)
        return Users(release=opened.release, users=users[: query.size])

    def _exactly(self, opened: Release, text: str) -> SomeUser | None:
        """The user whose id this is, be it known by events alone."""
        try:
            userid = read_id("userid", text, opened.user_ids)
        except WrongIdError:
            return None
        user = self._state(opened, userid)
        return SomeUser(userid=userid, events=len(user.history)) if user is not None else None

    def history(self, query: UserQuery) -> UserHistory:
        """A user's events, newest first, with the items' attributes.

        Raises ServiceError, NoReleaseError, UnknownReleaseError, WrongIdError.
        """
        opened = self._opened(query.release)
        userid = read_id("userid", query.userid, opened.user_ids)
        user, dataset = self._state(opened, userid), opened.manifest.dataset
        history = user.history if user is not None else History.empty()
        rows = list(zip(history.itemids.tolist(), history.ratings.tolist(), history.times.tolist(), strict=True))
        return UserHistory(
            userid=userid,
            release=opened.release,
            known=user is not None,
            events=len(rows),
            last=rows[0][2] if rows else None,
            item_list=[
                PastEvent.model_validate(
                    {
                        **_shown(opened.catalogue[itemid]),
                        "value": dataset.levels[code - 1],
                        "liked": code > dataset.positive_level,
                        "timestamp": time,
                    }
                )
                for itemid, code, time in rows[: query.size]
                if itemid in opened.catalogue
            ],
        )

    def items(self, query: ItemsQuery) -> Items:
        """Items by title. Raises ServiceError, NoReleaseError, UnknownReleaseError."""
        opened = self._opened(query.release)
        titles = self._titles.get(opened)
        if titles is None:  # popular items first
            titles = TitleSearch.of((itemid, opened.catalogue[itemid].title) for itemid in _ranks(opened))
            self._titles[opened] = titles
        found = titles.find(query.q, query.size)
        return Items(
            release=opened.release,
            item_list=[ShownItem.model_validate(_shown(opened.catalogue[itemid])) for itemid in found],
        )

    def item_map(self, query: MapQuery) -> str:
        """`ItemMap` as JSON, which is put together once while the release is open.

        The most popular items for which the first channel has a vector in Elasticsearch, most popular first. Raises
        ServiceError, NoReleaseError, UnknownReleaseError.
        """
        opened = self._opened(query.release)
        made = self._maps.get(opened)
        if made is None:
            channel, ranks = opened.manifest.recipe.recall.searched[0].name, _ranks(opened)
            indexed = self._recommender.items.indexed(opened.release, list(ranks)[:MOST_ITEMS], [channel])
            vectors = {item.itemid: item.vectors[channel] for item in indexed if channel in item.vectors}
            itemids = sorted(vectors, key=ranks.__getitem__)
            places = projected(np.array([vectors[n] for n in itemids]), np.array([ranks[n] for n in itemids]))
            items = [
                PlacedItem.model_validate({**_shown(opened.catalogue[itemid]), "x": round(x, 4), "y": round(y, 4)})
                for itemid, (x, y) in zip(itemids, places.tolist(), strict=True)
            ]
            made = ItemMap(release=opened.release, channel=channel, item_list=items).model_dump_json()
            self._maps[opened] = made
        return made

    def releases(self, _: NoQuery) -> KeptReleases:
        """The releases that a request can name, the newest activation first. Raises ServiceError."""
        live, activated = self._users.activated()
        manifests = [each.manifest for release in activated if (each := self._users.published(release)) is not None]
        return KeptReleases(
            releases=[
                KeptRelease(
                    release=each.release,
                    live=each.release == live,
                    recipe=each.recipe.name,
                    dataset=each.dataset.name,
                    channels=[channel.name for channel in each.recipe.recall.channels],
                    ranker=each.recipe.ranker.kind,
                    levels=list(each.dataset.levels),
                    positive_level=each.dataset.positive_level,
                    event_types=dict(each.dataset.event_types),
                )
                for each in manifests
            ]
        )

    def activate(self, release: str) -> Activated:
        """Have a release served that was live before, once it has answered for one of its users through all services.

        Raises ServiceError, NoReleaseError, UnknownReleaseError; then what was live is live still.
        """
        opened = self._releases.open_kept(release)
        users = self._some_users(opened, TRIED_USERS)
        if not users:
            raise StoredError(self._users.service, f"knows no user of release {release} to try it with")
        userid = own_id(users[0][0], opened.user_ids)
        trial = {"userid": userid, "size": 1, "strict": True, "release": release}
        self._recommender.recommend(Request.model_validate(trial))
        self._users.activate(release)
        return Activated(release=release, live=True)

    def _opened(self, release: str | None) -> Release:
        if release is not None:
            return self._releases.open_kept(release)
        return self._releases.serving or self._releases.open_live()

    def _some_users(
        self, opened: Release, size: int, prefix: str = "", *, fewest: bool = False
    ) -> list[tuple[str, int]]:
        return self._users.some_users(opened.release, opened.manifest.dataset.base_name, size, prefix, fewest=fewest)

    def _state(self, opened: Release, userid: OwnId) -> StoredUser | None:
        """Merge events after the release into a user's state."""
        user = self._users.call(StateQuery.of(userid, opened.manifest)).user
        return opened.current(user, None) if user is not None else None


def _shown(item: CatalogueItem) -> dict[str, Any]:
    return {"itemid": item.own_id, "title": item.title, **item.attributes}


def _ranks(opened: Release) -> dict[int, int]:
    """Item's number -> place from 0, the most popular first; then what nobody clicked."""
    ordered = dict.fromkeys([*opened.popular.ids.tolist(), *opened.catalogue])
    return {itemid: rank for rank, itemid in enumerate(ordered)}


def projected(vectors: NDArray[np.float32], ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, dim) vectors -> (n, 2) places within -1 to 1, by the principal components of what popularity leaves of them.

    ``ranks``: (n,) places on the popular list, from 0. Vectors of the inner product carry popularity as their widest
    direction; without it, what is near is alike. Lengths do not matter.
    """
    if not len(vectors):
        return np.empty((0, 2))
    known = np.log1p(ranks.astype(np.float64))[:, None] ** np.arange(3)  # a curve: 1, x, x * x
    rest = vectors - known @ np.linalg.lstsq(known, vectors.astype(np.float64), rcond=None)[0]
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    units = rest / np.where(lengths > _ROUNDING, lengths, np.inf)
    centred = units - units.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = directions[:, :-3:-1]  # (dim, 2)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])  # which way is up is fixed
    places: NDArray[np.float64] = centred @ axes
    scale = np.percentile(np.abs(places), _FURTHEST, axis=0)
    return np.clip(places / np.where(scale > 0, scale, 1), -1, 1)


def folded(text: str) -> str:
    """Fold case and accents: "Amélie" -> "amelie"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


@dataclass(frozen=True)
class TitleSearch:
    """The titles of a catalogue, in memory.

    Attributes:
        titles: (item's number, folded title), in the order in which equally good ones are found.
    """

    titles: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, titles: Iterable[tuple[int, str]]) -> TitleSearch:
        """``titles``: (item's number, title), the best known first."""
        return cls(tuple((itemid, folded(title)) for itemid, title in titles))

    def find(self, text: str, size: int) -> list[int]:
        """Items whose titles hold every word of ``text``; those whose words begin so before the others."""
        words = folded(text).split()
        found = [(itemid, title) for itemid, title in self.titles if all(word in title for word in words)]
        begins = {itemid for itemid, title in found if all(f" {word}" in f" {title}" for word in words)}
        ordered = [*(i for i, _ in found if i in begins), *(i for i, _ in found if i not in begins)]
        return list(islice(ordered, size))
