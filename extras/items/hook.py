"""Add, change and remove items at once, without a new release (item cold start).

An item that nobody has rated is placed by its attributes (`projection`); every worker knows it within a second, and
each later release places it again (`store`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel
from werkzeug.exceptions import Conflict

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.errors import RecsysError
from data_exchange_center.events import Event, opinion
from extras.events.hook import FORGOTTEN, RECORDED, AnyText
from extras.items.projection import BEFORE, Extended, base_of
from extras.items.store import MAX_ITEMS, Change, Follower, ItemStore, Like, Record
from extras.routes import (
    expect_kind,
    no_attribute,
    no_value,
    per_release,
    route,
)
from online.clients.base import ServiceError
from online.clients.redis import UserQuery
from online.recommend.item_cache import ITEM_TTL_S
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Request, UserId, read_id
from online.web.errors import error_response
from online.web.guard import View, current_record
from online.web.parts import Parts

PATH: Final = "/ml/item"
ONE: Final = f"{PATH}/<any_text:itemid>"
SEVERAL: Final = "/ml/items"
MAX_AT_ONCE: Final = 1_000  # items of one call
_MOST: Final = 1e12  # largest absolute value of a number
_EXAMPLE: Final = {
    "itemid": 999_001,
    "title": "Heat 2",
    "attributes": {"genres": ["Action", "Crime"]},
}
_FULL: Final = f"{MAX_ITEMS:,} items are new, changed or removed: no more are kept."

Value = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-_MOST, le=_MOST)]
Given = Annotated[
    dict[str, Annotated[list[Value], Field(max_length=100)] | Number | None],
    Field(max_length=100),
]
# No control characters, line separators or marks that turn the direction of text; and one character that can be seen
_TITLE: Final = (
    r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*"
    r"[^\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
    r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
)
Title = Annotated[str, Field(min_length=1, max_length=500, pattern=_TITLE)]


class ItemId(BaseModel):
    """An item by its id."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    itemid: UserId


class NewItem(ItemId):
    """An item that the live release does not have."""

    title: Title
    attributes: Given = Field(
        default={},
        description="as the data set declares them; what is left out is unknown",
    )


class ItemChange(BaseModel):
    """What is to be another one of an item."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", json_schema_extra={"minProperties": 1}
    )

    title: Title = Field(default_factory=str, description="left out: it stays as it is")
    attributes: Given = Field(
        default={}, description="those that are left out stay as they are"
    )


class NewItems(
    RootModel[Annotated[list[NewItem], Field(min_length=1, max_length=MAX_AT_ONCE)]]
):
    """Items that the live release does not have."""


class ItemIds(
    RootModel[Annotated[list[ItemId], Field(min_length=1, max_length=MAX_AT_ONCE)]]
):
    """Items by their ids."""


class ItemState(BaseModel):
    """An item as it is from now on."""

    itemid: OwnId
    release: str = Field(description="the live one")
    title: str | None = Field(description="null: the item is removed")
    attributes: dict[str, Any] = Field(description="as answers show them")


class ItemsState(BaseModel):
    """Items as they are from now on."""

    release: str = Field(description="the live one")
    itemids: list[OwnId] = Field(
        description="those that were added or removed, in the order given"
    )


class UnknownItemError(RecsysError):
    """There is no such item."""

    def __init__(self, own: OwnId) -> None:
        super().__init__(f"There is no item {own!r} here.")


def register(app: Flask, parts: Parts) -> None:
    """`POST /ml/item`, `PATCH` and `DELETE /ml/item/<itemid>`."""
    recommender, settings = parts.recommender, parts.settings
    store: ItemStore = parts.stores.get("items") or ItemStore(settings.redis)
    follower = Follower(recommender, store, ITEM_TTL_S)
    app.url_map.converters["any_text"] = AnyText
    follower.hides = recommender.phases.recall.append(without_hidden)
    follower.hides.needed = False
    recommender.phases.release.append(follower.view)
    if "items" not in parts.stores:
        recommender.follow(follower.catch_up)

    @app.errorhandler(UnknownItemError)
    def unknown(error: UnknownItemError) -> Response:
        return error_response(404, "unknown_item", str(error), field="itemid")

    def current() -> Release:
        """The live release, as it was read. Raises NoReleaseError, ServiceError."""
        return base_of(recommender.releases.get())

    def liked(opened: Release, events: Sequence[Event]) -> None:
        """Of each user who likes a new item, keep what the user had liked before; see `like_of`."""
        dataset, base = opened.manifest.dataset, base_of(opened)
        changes: dict[OwnId, list[Like]] = {}
        saying = [event for event in events if opinion(event, dataset) is not None]
        pairs = dict.fromkeys((event.userid, event.itemid) for event in saying)
        with suppress(ServiceError):  # it is logged; the events are recorded
            for userid, itemid in pairs:
                record = follower.record(base, itemid)
                if record is None or record.title is None:
                    continue
                query = UserQuery.of(userid, opened.manifest)
                user = recommender.users.call(query).user
                like = like_of(base, user, itemid) if user else None
                changes.setdefault(itemid, []).append(like or Like(userid, ()))
            with_likes = {own: having(likes) for own, likes in changes.items()}
            if changes:
                store.change(dataset.base_name, with_likes)

    app.extensions.setdefault(RECORDED, []).append(liked)
    app.extensions.setdefault(FORGOTTEN, []).append(store.forget)

    def changed(base: Release, changes: Mapping[OwnId, Change]) -> Release:
        """Apply changes, and return the live release with them. Raises as `ItemStore.change`."""
        version = store.change(base.dataset, changes)
        follower.include(base, version)
        current_record().facts |= {"items": len(changes)}
        return follower.view(recommender.releases.get())

    def state(opened: Release, own: OwnId) -> ItemState:
        """The item after a change."""
        number = opened.numbers.get(own)
        shown = opened.catalogue[number] if number is not None else None
        current_record().facts |= {"item": own}
        return ItemState(
            itemid=own,
            release=opened.release,
            title=shown.title if shown else None,
            attributes=dict(shown.attributes) if shown else {},
        )

    def write(
        method: str, path: str, answer: type[BaseModel], *errors: int, **more: Any
    ) -> Callable[[View], View]:
        """Serve a change of the catalogue, which always needs a key."""
        more |= {"merge_slashes": False, "security": [{"key": []}]}
        return route(
            app, parts, method, path, answer, 400, 408, 409, 411, *errors, **more
        )

    @write(
        "POST",
        PATH,
        ItemState,
        conflict=f"There is an item of this id; or {_FULL}",
        body=NewItem,
        example=_EXAMPLE,
    )
    def add_item(item: NewItem) -> ItemState:
        """Add an item, at once.

        It is placed by its attributes, and known to all ways of answering within a second. It stays through new
        releases.
        """
        base = current()
        return state(changed(base, {item.itemid: added(base, item)}), item.itemid)

    @write(
        "POST",
        SEVERAL,
        ItemsState,
        conflict=f"There is an item of one of these ids; or {_FULL}",
        body=NewItems,
        example=[_EXAMPLE],
        shape=f"a list of 1 to {MAX_AT_ONCE:,} items",
    )
    def add_items(items: NewItems) -> ItemsState:
        """Add a list of items, at once: all of them, or none after an error.

        An error names the place in the list. Otherwise as `POST /ml/item`.
        """
        base = current()
        of_place = [
            added(base, item, f"[{place}].") for place, item in enumerate(items.root)
        ]
        return several(base, [item.itemid for item in items.root], of_place)

    @write(
        "POST",
        f"{SEVERAL}/remove",
        ItemsState,
        404,
        conflict=_FULL,
        body=ItemIds,
        example=[{"itemid": 999_001}],
        shape=f"a list of 1 to {MAX_AT_ONCE:,} items",
    )
    def remove_items(items: ItemIds) -> ItemsState:
        """Remove a list of items from all answers within a second: all of them, or none after an error."""
        base = current()
        for place, item in enumerate(items.root):
            expect_kind(
                "itemid", item.itemid, base.manifest.dataset.item_ids, f" of [{place}]"
            )
        own_ids = [item.itemid for item in items.root]
        return several(base, own_ids, [removed(base, own) for own in own_ids])

    def several(
        base: Release, own_ids: list[OwnId], changes: list[Change]
    ) -> ItemsState:
        """Apply a change to each of several items. Raises BadRequestError for an id that is there twice."""
        before = set()
        for place, own in enumerate(own_ids):
            if own in before:
                field = f"[{place}].itemid"
                raise BadRequestError(field, f"{field} is there twice in the list.")
            before.add(own)
        opened = changed(base, dict(zip(own_ids, changes, strict=True)))
        return ItemsState(release=opened.release, itemids=own_ids)

    @write(
        "PATCH",
        ONE,
        ItemState,
        404,
        conflict=_FULL,
        body=ItemChange,
        example={"title": "Heat 2 (2026)"},
    )
    def change_item(wanted: ItemChange, itemid: str) -> ItemState:
        """Change the title or attributes of an item, new or not."""
        if not wanted.model_fields_set:
            raise BadRequestError(
                "body",
                f"Nothing is to be changed; there are: {', '.join(ItemChange.model_fields)}.",
            )
        base = current()
        own = read_id("itemid", itemid, base.manifest.dataset.item_ids)

        def with_changes(before: Record | None) -> Record:
            if before is None and own in base.numbers:
                before = Record(title=base.catalogue[base.numbers[own]].title)
            if before is None or before.title is None:
                raise UnknownItemError(own)
            title = wanted.title or before.title
            titled = before.model_copy(update={"title": title})
            return with_attributes(base, titled, wanted.attributes)

        return state(changed(base, {own: with_changes}), own)

    @write("DELETE", ONE, ItemState, 404, conflict=_FULL)
    def remove_item(itemid: str) -> ItemState:
        """Remove an item from all answers, new or not, within a second.

        One of the release's own comes back when it is added again.
        """
        base = current()
        own = read_id("itemid", itemid, base.manifest.dataset.item_ids)
        return state(changed(base, {own: removed(base, own)}), own)


def added(base: Release, item: NewItem, where: str = "") -> Change:
    """The change that adds an item. ``where``: prefix of a field's name. Raises BadRequestError."""
    expect_kind(f"{where}itemid", item.itemid, base.manifest.dataset.item_ids)
    new = with_attributes(
        base, Record(title=item.title), item.attributes, f"{where}attributes"
    )

    def change(before: Record | None) -> Record:
        is_there = item.itemid in base.numbers
        if before is not None:
            is_there = before.title is not None
        if is_there:
            raise Conflict(
                f"There is an item {item.itemid!r} already: PATCH {PATH}/{item.itemid} changes it."
            )
        return new

    return change


def removed(base: Release, own: OwnId) -> Change:
    """The change that removes an item: a new one for good, one of the release's own until it is added again."""
    is_new = own not in base.numbers

    def change(before: Record | None) -> Record | None:
        if (before is None and is_new) or (before and before.title is None):
            raise UnknownItemError(own)
        return None if is_new else Record()

    return change


# --- likes, attributes, removed items


def like_of(base: Release, user: StoredUser, item: OwnId) -> Like | None:
    """A user's like of a new item, with the newest of the release's items that the user had liked before, if any.

    The user's newest event of the item counts, by its time and not by its arrival: a lower rating or a retraction takes
    a like back.
    """
    dataset = base.manifest.dataset
    of_item = [each for each in user.events if each.event.itemid == item]
    said = [each for each in of_item if opinion(each.event, dataset) is not None]
    last = max(said, key=lambda each: each[:2], default=None)
    if last is None or not opinion(last.event, dataset):
        return None
    history = user.current(dataset, base.numbers, last.time).history
    found = history.item_numbers[history.ratings > dataset.positive_level]
    before = tuple(
        base.catalogue[each].own_id for each in found.tolist() if each in base.catalogue
    )[:BEFORE]
    return Like(last.event.userid, before, last.time)


def having(given: Sequence[Like]) -> Change:
    """The change that keeps likes of an item; one without anything that was liked before takes the user's back."""

    def change(before: Record | None) -> Record | None:
        if before is None or before.title is None:
            return before
        for like in given:
            before = before.with_like(*like)
        return before

    return change


def without_hidden(request: Request, opened: Release, user: StoredUser) -> StoredUser:
    """The user, with removed items left out of the search in Elasticsearch."""
    if not isinstance(opened, Extended) or user.is_blank or not len(opened.hidden):
        return user
    return user.without(opened.hidden)


@per_release
def known_values(opened: Release) -> dict[str, list[str]]:
    """Attribute -> its values."""
    dataset = opened.manifest.dataset
    values: dict[str, list[str]] = {name: [] for name in dataset.terms}
    for attribute, value in map(dataset.attribute_and_value, opened.spec.genres):
        values[attribute].append(value)
    return values


def with_attributes(
    opened: Release,
    record: Record,
    given: Mapping[str, list[str] | float | None],
    field: str = "attributes",
) -> Record:
    """Set a record's attributes. Raises BadRequestError, naming those that exist."""
    values = known_values(opened)
    numbers = {number.name for number in opened.manifest.dataset.numbers}
    terms = dict(record.terms)
    changed = dict(record.numbers)
    for name, wanted in given.items():
        if name in values:
            if not isinstance(wanted, list):
                raise BadRequestError(field, f"{name} must be a list of values.")
            if unknown := [each for each in wanted if each not in values[name]]:
                raise no_value(field, name, unknown[0], values[name])
            terms[name] = list(dict.fromkeys(wanted))
        elif name in numbers:
            if isinstance(wanted, list):
                raise BadRequestError(
                    field, f"{name} must be a number, or null where it is unknown."
                )
            changed[name] = wanted
        else:
            raise no_attribute(field, name, {*values, *numbers})
    return record.model_copy(update={"terms": terms, "numbers": changed})
