"""The web page, and its endpoints: users, their histories, items by title, releases, and rollback to an earlier one.

The page's files are static: they need no build and no other server.
"""

from __future__ import annotations

import unicodedata
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from flask import Blueprint, Flask, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import MAX_BYTES, Effect, OwnId, own_id
from data_exchange_center.history import History
from extras.published import readable
from extras.routes import parameters, parse_query, per_release, route
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem
from online.clients.redis import USERS_STEP, RedisClient
from online.clients.redis import UserQuery as StateQuery
from online.recommend.loaded_release import Release, read_indexed
from online.recommend.outcomes import WrongIdError
from online.recommend.recommend import Recommender
from online.recommend.types import RELEASE, Request, read_id
from online.web.openapi import operation, responses
from online.web.parts import Parts

Titles = list[tuple[int, str]]
FILES_PATH: Final = "/page"
# The page's own files, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TRIED_USERS: Final = 100  # of a release, to find one who was not forgotten
_ROUNDING: Final = 1e-5  # a length that is a rounding error
MOST_ITEMS: Final = 20_000  # on the map: a browser draws no more, and these take a second or two to put together


def register(app: Flask, parts: Parts) -> None:
    """`/` and its files; `/ml/users`, `/ml/history`, `/ml/items`, `/ml/map`, `/ml/releases`."""
    page = Blueprint(
        "page", __name__, static_folder="static", static_url_path=FILES_PATH
    )

    @page.get("/")
    def index() -> Response:
        return page.send_static_file("index.html")

    @page.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    app.register_blueprint(page)
    described = operation(
        "page", "The page for people", responses("A page.", 401, 429, 500)
    )
    parts.describe({"/": {"get": described}}, [])

    users = parts.stores.get("page") or UserList(parts.settings.redis)
    browse = Browse(parts.recommender, users)

    read = partial(route, app, parts, "GET")
    read("/ml/users", Users, 404, query=UsersQuery)(browse.users)
    read("/ml/history", UserHistory, 404, query=UserQuery)(browse.history)
    read("/ml/items", Items, 404, query=ItemsQuery)(browse.items)
    read("/ml/map", ItemMap, 404, query=ReleaseQuery)(browse.map)
    read("/ml/releases", KeptReleases)(browse.releases)
    route(
        app,
        parts,
        "POST",
        "/ml/releases/<release>/activate",
        Activated,
        400,
        404,
        411,
        parameters=parameters(Activation, "path"),
        security=[{"key": []}],
    )(browse.activate)


# ----------------------------------------------------------------------------------------------------------- queries

ReleaseId = Annotated[str, Field(pattern=RELEASE)]
Q: Final = f"text of at most {MAX_BYTES} characters that their ids begin with; the user whose id it is comes first"
FEWEST: Final = "true, without q: those with the fewest events first; else in the order of the ids' text"
_RELEASE = "a release's id: twelve characters, 0-9 and a-f"


class ReleaseQuery(BaseModel):
    """A release to look into."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[
        ReleaseId | None, Field(description=f"{_RELEASE}; the live one if not given")
    ] = None


class UsersQuery(ReleaseQuery):
    """Users to choose from."""

    q: Annotated[str, Field(max_length=MAX_BYTES, description=Q)] = ""
    fewest: Annotated[bool, Field(description=FEWEST)] = False
    size: Annotated[int, Field(ge=1, le=100, description="how many, 1 to 100")] = 20


class UserQuery(ReleaseQuery):
    """One user's history."""

    userid: Annotated[
        str, Field(min_length=1, max_length=MAX_BYTES, description="the user's own id")
    ]
    size: Annotated[
        int, Field(ge=1, le=1000, description="how many events, 1 to 1000")
    ] = 100


class ItemsQuery(ReleaseQuery):
    """Items by title."""

    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            description="words of the title, up to 100 characters",
        ),
    ]
    size: Annotated[int, Field(ge=1, le=50, description="how many, 1 to 50")] = 10


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


class HistoryEvent(ShownItem):
    """An event of a user's history: the item, and the rating."""

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
    events: int = Field(description="in all")
    last: int | None = Field(
        description="when the newest was, in seconds since 1970-01-01 UTC"
    )
    item_list: list[HistoryEvent]


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
    item_list: list[PlacedItem] = Field(
        description="the most popular of those that have a vector"
    )


class KeptRelease(BaseModel):
    """A release that can be named in a request."""

    release: str
    live: bool
    recipe: str
    dataset: str
    levels: list[float] = Field(description="the values that ratings have")
    event_types: dict[str, Effect] = Field(
        description="what `/ml/event` takes, and what each does"
    )


class KeptReleases(BaseModel):
    """The published releases: the live one, then those that were published or live last."""

    releases: list[KeptRelease]


class Activated(BaseModel):
    """A release is served from now on."""

    release: str


# ----------------------------------------------------------------------------------------------------------- look-ups


class Listing(NamedTuple):
    """Users to list.

    Attributes:
        dataset: `Dataset.base_name` of the release: its users who were forgotten are left out.
        prefix: text that their own ids begin with.
        fewest: those with the fewest events of all, without a prefix; else in the order of their ids' text.
    """

    release: str
    dataset: str
    at_most: int
    prefix: str = ""
    fewest: bool = False


class UserList(RedisClient[Listing, list[tuple[str, int]]]):
    """Own ids, as text, and events of each. StoredError where the release has no list of its users."""

    def _call(self, query: Listing) -> list[tuple[str, int]]:
        counts = wire.event_counts_key(query.release)
        found: Any  # typed for the asynchronous client too
        if query.fewest:
            found = self._redis.zrange(counts, 0, query.at_most - 1, withscores=True)
        else:
            ids_key, first = wire.ids_key(query.release), b"[" + query.prefix.encode()
            ids: Any = self._redis.zrangebylex(
                ids_key, first, first + b"\xff", start=0, num=query.at_most
            )
            numbers: Any = self._redis.zmscore(counts, ids) if ids else []
            found = zip(ids, numbers, strict=True)
        users = [
            (each.decode(), int(number)) for each, number in found if number is not None
        ]
        if not users and not (query.prefix and self._redis.exists(counts)):
            raise StoredError(
                self.service,
                f"holds no list of the users of release {query.release}; {USERS_STEP} writes it",
            )
        pipeline = self._redis.pipeline(transaction=False)
        for userid, _ in users:
            pipeline.hexists(
                wire.user_events_key(query.dataset, userid), wire.FORGOTTEN
            )
        gone = pipeline.execute()
        return [each for each, is_gone in zip(users, gone, strict=True) if not is_gone]


class Browse:
    """Look-ups in the releases that the server holds. Shared by threads.

    Methods raise ServiceError; for a named release or user also NoReleaseError, UnknownReleaseError, WrongIdError.
    """

    def __init__(self, recommender: Recommender, listed: UserList) -> None:
        self._recommender = recommender
        self._releases, self._users = recommender.releases, recommender.users
        self._listed = listed
        self._map = per_release(self._new_map)

    def users(self, query: UsersQuery) -> Users:
        """Users to choose from, with the number of their events."""
        opened = self._releases.get(query.release)
        text = query.q.strip() if opened.user_ids == "integer" else query.q
        dataset = opened.dataset
        fewest = query.fewest and not text
        wanted = Listing(opened.release, dataset, query.size, text, fewest)
        users = [
            SomeUser(userid=own_id(each, opened.user_ids), events=n)
            for each, n in self._listed.call(wanted)
            if each != text
        ]
        try:  # the user whose id this is comes first, be it known by events alone
            exactly = read_id("userid", text, opened.user_ids)
        except WrongIdError:
            return Users(release=opened.release, users=users)
        user = self._state(opened, exactly)
        if user is not None:
            users.insert(0, SomeUser(userid=exactly, events=len(user.history)))
        return Users(release=opened.release, users=users[: query.size])

    def history(self, query: UserQuery) -> UserHistory:
        """What a user has done, newest first."""
        opened = self._releases.get(query.release)
        userid = read_id("userid", query.userid, opened.user_ids)
        user, dataset = self._state(opened, userid), opened.manifest.dataset
        history = user.history if user is not None else History.empty()
        events = []
        for n, number in enumerate(history.item_numbers[: query.size].tolist()):
            code = int(history.ratings[n])
            if number in opened.catalogue:
                event = {
                    **_shown(opened.catalogue[number]),
                    "value": dataset.levels[code - 1],
                    "liked": code > dataset.positive_level,
                    "timestamp": int(history.times[n]),
                }
                events.append(HistoryEvent.model_validate(event))
        return UserHistory(
            userid=userid,
            release=opened.release,
            events=len(history),
            last=int(history.times[0]) if len(history) else None,
            item_list=events,
        )

    def items(self, query: ItemsQuery) -> Items:
        """Items by words of their titles."""
        opened = self._releases.get(query.release)
        found = find(folded_titles(opened), query.q, query.size)
        shown = [_shown(opened.catalogue[number]) for number in found]
        items = [ShownItem.model_validate(each) for each in shown]
        return Items(release=opened.release, item_list=items)

    def map(self, query: ReleaseQuery) -> str:
        """Items on a plane, by their vectors."""
        return self._map(self._releases.get(query.release))

    def _new_map(self, opened: Release) -> str:
        """`ItemMap` as JSON: the most popular items for which the first channel has a vector in Elasticsearch."""
        channel = opened.manifest.recipe.recall.vector_channels[0].name
        popular = opened.by_popularity.ids.tolist()
        indexed = read_indexed(
            self._recommender.items, opened.release, popular[:MOST_ITEMS], [channel]
        )
        vectors = {
            item.number: item.vectors[channel]
            for item in indexed
            if channel in item.vectors
        }
        ranks = [rank for rank, number in enumerate(popular) if number in vectors]
        numbers = [popular[rank] for rank in ranks]
        places = projected(
            np.array([vectors[each] for each in numbers]), np.array(ranks)
        )
        items = []
        for number, (x, y) in zip(numbers, places.tolist(), strict=True):
            at = {"x": round(x, 4), "y": round(y, 4)}
            shown = {**_shown(opened.catalogue[number]), **at}
            items.append(PlacedItem.model_validate(shown))
        found = ItemMap(release=opened.release, channel=channel, item_list=items)
        return found.model_dump_json()

    def releases(self) -> KeptReleases:
        """The releases that a request can name."""
        live, published = self._users.listed()
        published.sort(key=lambda release: release != live)  # the live one first
        kept = []
        for each in readable(self._users, published):
            manifest, dataset = each.manifest, each.manifest.dataset
            kept.append(
                KeptRelease(
                    release=manifest.release,
                    live=manifest.release == live,
                    recipe=manifest.recipe.name,
                    dataset=dataset.name,
                    levels=list(dataset.levels) if dataset.has_values else [1.0],
                    event_types=dict(dataset.event_types),
                )
            )
        return KeptReleases(releases=kept)

    def activate(self, release: str) -> Activated:
        """Serve a published release by default, once it has answered through all services."""
        release = parse_query(Activation, {"release": release}).release
        opened = self._releases.get(release)
        users = self._listed.call(Listing(release, opened.dataset, TRIED_USERS))
        if not users:
            raise StoredError(
                self._users.service,
                f"knows no user of release {release} to try it with",
            )
        userid = own_id(users[0][0], opened.user_ids)
        trial = {"userid": userid, "size": 1, "strict": True, "release": release}
        self._recommender.recommend(Request.model_validate(trial))
        self._users.activate(release)
        # at once in this worker, in the others within half a second
        self._releases.follow(only_active=True)
        return Activated(release=release)

    def _state(self, opened: Release, userid: OwnId) -> StoredUser | None:
        """Merge events after the release into a user's state."""
        user = self._users.call(StateQuery.of(userid, opened.manifest)).user
        if user is None:
            return None
        return user.current(opened.manifest.dataset, opened.numbers, None)


def _shown(item: CatalogueItem) -> dict[str, Any]:
    return {"itemid": item.own_id, "title": item.title, **item.attributes}


def projected(
    vectors: NDArray[np.float32], ranks: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Project (n, dim) vectors to (n, 2) places within -1 to 1: PCA of what popularity does not explain.

    ``ranks``: (n,) places on the popular list, from 0. Inner-product vectors carry popularity as their widest
    direction; without it, items that are near are alike. Lengths are normalized.
    """
    if not len(vectors):
        return np.empty((0, 2))
    rank = np.log1p(ranks.astype(np.float64))
    known = rank[:, None] ** np.arange(3)  # a curve: 1, x, x * x
    explained, *_ = np.linalg.lstsq(known, vectors.astype(np.float64), rcond=None)
    rest = vectors - known @ explained
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    units = rest / np.where(lengths > _ROUNDING, lengths, np.inf)
    centred = units - units.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    places: NDArray[np.float64] = centred @ directions[:, :-3:-1]  # (n, 2)
    scale = np.abs(places).max(axis=0)
    return places / np.where(scale > 0, scale, 1)


def folded(text: str) -> str:
    """Fold case and accents: "Amélie" -> "amelie"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


@per_release
def folded_titles(opened: Release) -> Titles:
    """Items by number with their folded titles, the popular ones first."""
    return [
        (itemid, folded(opened.catalogue[itemid].title))
        for itemid in opened.by_popularity.ids.tolist()
    ]


def find(titles: Titles, text: str, size: int) -> list[int]:
    """The first items whose titles hold every word of ``text``."""
    words = folded(text).split()
    found = [number for number, title in titles if all(map(title.count, words))]
    return found[:size]
