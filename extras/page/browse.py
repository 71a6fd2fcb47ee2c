"""What people can look up: users, their histories, items by title, releases; and putting a release live again."""

from __future__ import annotations

import json
from typing import Any, Final
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from data_exchange_center.dataset import OwnId, own_id
from extras.page.queries import ItemsQuery, MapQuery, UserQuery, UsersQuery
from extras.page.titles import TitleSearch
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem
from online.clients.redis import StoredUser
from online.clients.redis import UserQuery as StateQuery
from online.recommend.recommend import Recommender
from online.recommend.release import Release
from online.recommend.types import Request, WrongIdError, read_id

TRIED_USERS: Final = 100  # of a release, to find one who was not forgotten


class Browse:
    """Over the releases that the server answers from. Shared by threads."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._releases = recommender.releases
        self._users = recommender.users
        self._maps: WeakKeyDictionary[Release, bytes] = WeakKeyDictionary()
        self._titles: WeakKeyDictionary[Release, TitleSearch] = WeakKeyDictionary()

    def users(self, query: UsersQuery) -> dict[str, Any]:
        """Some users with the number of their events. Raises ServiceError, NoReleaseError, UnknownReleaseError."""
        opened = self._opened(query.release)
        found = self._some_users(opened, query.size, query.q, fewest=query.fewest)
        exact = self._exactly(opened, query.q)
        listed = [(own_id(userid, opened.user_ids), events) for userid, events in found if userid != query.q]
        if exact is not None:
            listed.insert(0, exact)
        users = [{"userid": userid, "events": events} for userid, events in listed[: query.size]]
        return {"release": opened.release, "users": users}

    def _exactly(self, opened: Release, text: str) -> tuple[OwnId, int] | None:
        """The one whose id this is."""
        try:
            userid = read_id("userid", text, opened.user_ids)
        except WrongIdError:
            return None
        user = self._state(opened, userid)
        return (userid, len(user.history)) if user is not None else None

    def history(self, query: UserQuery) -> dict[str, Any]:
        """A user's events, newest first, with what is shown of the items.

        Raises ServiceError, NoReleaseError, UnknownReleaseError, WrongIdError.
        """
        opened = self._opened(query.release)
        userid = read_id("userid", query.userid, opened.user_ids)
        user, dataset = self._state(opened, userid), opened.manifest.dataset
        history = user.history if user is not None else None
        rows = list(zip(history.itemids, history.ratings, history.times, strict=True)) if history is not None else []
        shown = [
            {
                **_shown(opened.catalogue[int(itemid)]),
                "value": dataset.levels[int(code) - 1],
                "liked": bool(code > dataset.positive_level),
                "timestamp": int(time),
            }
            for itemid, code, time in rows[: query.size]
            if int(itemid) in opened.catalogue
        ]
        return {
            "userid": userid,
            "release": opened.release,
            "known": user is not None,
            "events": len(rows),
            "last": int(rows[0][2]) if rows else None,
            "item_list": shown,
        }

    def items(self, query: ItemsQuery) -> dict[str, Any]:
        """Items by title. Raises ServiceError, NoReleaseError, UnknownReleaseError."""
        opened = self._opened(query.release)
        titles = self._titles.get(opened)
        if titles is None:  # popular items first
            ordered = dict.fromkeys([*opened.popular.ids.tolist(), *opened.catalogue])
            titles = TitleSearch.of((itemid, opened.catalogue[itemid].title) for itemid in ordered)
            self._titles[opened] = titles
        found = titles.find(query.q, query.size)
        return {"release": opened.release, "item_list": [_shown(opened.catalogue[itemid]) for itemid in found]}

    def item_map(self, query: MapQuery) -> bytes:
        """Items on a plane, as JSON, which is put together once while the release is open.

        Raises ServiceError, NoReleaseError, UnknownReleaseError; StoredError: the release was loaded without a map.
        """
        opened = self._opened(query.release)
        made = self._maps.get(opened)
        if made is None:
            places = self._users.places(opened.release)
            made = self._maps[opened] = json.dumps(_item_map(opened, places), ensure_ascii=False).encode()
        return made

    def releases(self) -> dict[str, Any]:
        """Those that can be named in a request, the newest activation first. Raises ServiceError."""
        live, activated = self._users.activated()
        published = [each for release in activated if (each := self._users.published(release)) is not None]
        return {
            "releases": [
                {
                    "release": each.manifest.release,
                    "live": each.manifest.release == live,
                    "recipe": each.manifest.recipe.name,
                    "dataset": each.manifest.dataset.name,
                    "channels": [channel.name for channel in each.manifest.recipe.recall.channels],
                    "ranker": each.manifest.recipe.ranker.kind,
                    "levels": list(each.manifest.dataset.levels),
                    "positive_level": each.manifest.dataset.positive_level,
                    "event_types": dict(each.manifest.dataset.event_types),
                }
                for each in published
            ]
        }

    def activate(self, release: str) -> dict[str, Any]:
        """Have a release served that was live before, once it has answered for one of its users through all services.

        Raises ServiceError, NoReleaseError, UnknownReleaseError; then what was live is live still.
        """
        opened = self._releases.named(release)
        users = self._some_users(opened, TRIED_USERS)
        if not users:
            raise StoredError(self._users.service, f"knows no user of release {release} to try it with")
        userid, _ = users[0]
        asked = {"userid": own_id(userid, opened.user_ids), "size": 1, "strict": True, "release": release}
        self._recommender.recommend(Request.model_validate(asked))
        self._users.activate(release)
        return {"release": release, "live": True}

    def _opened(self, release: str | None) -> Release:
        if release is not None:
            return self._releases.named(release)
        return self._releases.serving or self._releases.live()

    def _some_users(
        self, opened: Release, size: int, prefix: str = "", *, fewest: bool = False
    ) -> list[tuple[str, int]]:
        return self._users.some_users(opened.release, opened.manifest.dataset.base_name, size, prefix, fewest=fewest)

    def _state(self, opened: Release, userid: OwnId) -> StoredUser | None:
        """With what came after the release."""
        user = self._users.call(StateQuery.of(userid, opened.manifest)).user
        return opened.current(user, None) if user is not None else None


def _item_map(opened: Release, places: NDArray[Any]) -> dict[str, Any]:
    """``places``: of `wire.PLACE`."""
    return {
        "release": opened.release,
        "channel": opened.manifest.recipe.recall.searched[0].name,
        "item_list": [
            {**_shown(opened.catalogue[itemid]), "x": round(x, 4), "y": round(y, 4)}
            for itemid, x, y in places.tolist()
            if itemid in opened.catalogue
        ],
    }


def _shown(item: CatalogueItem) -> dict[str, Any]:
    return {"itemid": item.own_id, "title": item.title, **item.attributes}
