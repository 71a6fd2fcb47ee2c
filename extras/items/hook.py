"""Add, change and remove items at once, without a new release (item cold start).

An item that nobody has rated is placed by its attributes (`projection`); every worker knows it within a second, and
each later release places it again (`store`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Final

from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import Conflict

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, OwnId
from data_exchange_center.errors import RecsysError
from extras.attributes import no_attribute, no_value
from extras.events.events import Event, likes
from extras.events.hook import RECORDED, AnyText, release_for_events
from extras.items.projection import BEFORE, LIKES, Extended, base_of
from extras.items.store import MAX_ITEMS, Follower, ItemStore, Record
from extras.routes import expect_kind, route
from online.clients.base import ServiceError
from online.clients.redis import UserQuery
from online.recommend.loaded_release import Release
from online.recommend.types import BadRequestError, Request, UserId, read_id
from online.web.guard import View, current_record, error_response
from online.web.parts import Parts

PATH: Final = "/ml/item"
ONE: Final = f"{PATH}/<any_text:itemid>"
_MOST: Final = 1e12  # largest absolute value of a number
_EXAMPLE: Final = {"itemid": 999_001, "title": "Heat 2", "attributes": {"genres": ["Action", "Crime"]}}
_EXPECTED: Final = {
    "itemid": f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes",
    "title": "a string of 1 to 500 characters",
    "attributes": (
        'an object that has for each attribute a list of values, a number or null, for example {"genres": ["Comedy"]}'
    ),
}
_CHANGED: Final = {name: what for name, what in _EXPECTED.items() if name != "itemid"}
_FULL: Final = f"{MAX_ITEMS:,} items are new, changed or removed: no more are kept."

Value = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-_MOST, le=_MOST)]
Given = Annotated[dict[str, Annotated[list[Value], Field(max_length=100)] | Number | None], Field(max_length=100)]
Title = Annotated[str, Field(min_length=1, max_length=500)]


class NewItem(BaseModel):
    """An item that the live release does not have."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    itemid: UserId
    title: Title
    attributes: Given = Field(default={}, description="as the data set declares them; what is left out is unknown")


class ItemChange(BaseModel):
    """What is to be another one of an item."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", json_schema_extra={"minProperties": 1})

    title: Title | None = None
    attributes: Given = Field(default={}, description="those that are left out stay as they are")


class ItemState(BaseModel):
    """An item as it is from now on."""

    itemid: OwnId
    release: str = Field(description="the live one")
    title: str | None = Field(description="null: the item is removed")
    attributes: dict[str, Any] = Field(description="as answers show them")
    indexed: bool = Field(description="searches have the change, whether Elasticsearch answers or not")


class UnknownItemError(RecsysError):
    """There is no such item."""

    def __init__(self, own: OwnId) -> None:
        super().__init__(f"There is no item {own!r} here.")


def register(app: Flask, parts: Parts) -> None:
    """`POST /ml/item`, `PATCH` and `DELETE /ml/item/<itemid>`."""
    recommender, settings = parts.recommender, parts.settings
    store: ItemStore = parts.stores.get("items") or ItemStore(settings.redis)
    follower = Follower(recommender, store, settings.server.item_cache_ttl_s)
    app.url_map.converters["any_text"] = AnyText
    recommender.phases.recall.append(without_hidden)

    recommender.phases.release.append(follower.view)
    if "items" not in parts.stores:
        recommender.follow(follower.catch_up)

    @app.errorhandler(UnknownItemError)
    def unknown(error: UnknownItemError) -> Response:
        return error_response(404, "unknown_item", str(error), field="itemid")

    def current() -> Release:
        """The live release, with the items as they are now. Raises NoReleaseError, ServiceError."""
        release_for_events(recommender)
        follower.catch_up()
        return follower.view(release_for_events(recommender))

    def liked(opened: Release, events: Sequence[Event]) -> None:
        """For each like of a new item, keep what that user had liked before."""
        dataset, base = opened.manifest.dataset, base_of(opened)
        for event in events:
            record = follower.record(base, event.itemid)
            if not may_be_liked(record) or not likes(event, dataset):
                continue
            with suppress(ServiceError):  # it is logged; the event is recorded
                user = recommender.users.call(UserQuery.of(event.userid, opened.manifest)).user
                if user and (before := liked_before(base, user, event.timestamp)):
                    store.change(dataset.base_name, event.itemid, partial(with_like, before=before))

    app.extensions.setdefault(RECORDED, []).append(liked)

    def state(own: OwnId) -> ItemState:
        """The item after a change."""
        follower.catch_up()
        opened = follower.view(release_for_events(recommender))
        number = opened.numbers.get(own)
        shown = opened.catalogue[number] if number is not None else None
        current_record().facts |= {"item": own}
        return ItemState(
            itemid=own,
            release=opened.release,
            title=shown.title if shown else None,
            attributes=dict(shown.attributes) if shown else {},
            indexed=True,
        )

    def write(method: str, path: str, *errors: int, **more: Any) -> Callable[[View], View]:
        """Serve a change of the catalogue, which always needs a key."""
        statuses = (400, 401, 403, 408, 409, 411, 429, 500, 503, *errors)
        key: list[dict[str, Any]] = [{"key": []}]
        return route(app, parts, method, path, ItemState, statuses, merge_slashes=False, security=key, **more)

    @write(
        "POST", PATH, conflict=f"There is an item of this id; or {_FULL}",
        body=NewItem, example=_EXAMPLE, expected=_EXPECTED,
    )  # fmt: skip
    def add_item(item: NewItem) -> ItemState:
        """Add an item, at once.

        It is placed by its attributes, and known to all ways of answering within a second. It stays through new
        releases.
        """
        opened = current()
        expect_kind("itemid", item.itemid, opened.manifest.dataset.item_ids)
        new = with_attributes(opened, Record(title=item.title), item.attributes)

        def added(before: Record | None) -> Record:
            if before.title is not None if before else item.itemid in opened.numbers:
                raise Conflict(f"There is an item {item.itemid!r} already: PATCH {PATH}/{item.itemid} changes it.")
            return new

        store.change(opened.manifest.dataset.base_name, item.itemid, added)
        return state(item.itemid)

    @write("PATCH", ONE, 404, conflict=_FULL, body=ItemChange, example={"title": "Heat 2 (2026)"}, expected=_CHANGED)
    def change_item(wanted: ItemChange, itemid: str) -> ItemState:
        """Change the title or attributes of an item, new or not."""
        if not wanted.model_fields_set:
            raise BadRequestError("body", f"Nothing is to be changed; there are: {', '.join(_CHANGED)}.")
        opened = current()
        own = read_id("itemid", itemid, opened.manifest.dataset.item_ids)

        def changed(before: Record | None) -> Record:
            if before is None and own in opened.numbers:
                before = Record(title=opened.catalogue[opened.numbers[own]].title)
            if before is None or before.title is None:
                raise UnknownItemError(own)
            titled = before if wanted.title is None else before.model_copy(update={"title": wanted.title})
            return with_attributes(opened, titled, wanted.attributes)

        store.change(opened.manifest.dataset.base_name, own, changed)
        return state(own)

    @write("DELETE", ONE, 404, conflict=_FULL)
    def remove_item(itemid: str) -> ItemState:
        """Remove an item from all answers, new or not.

        One of the release's own comes back when it is added again.
        """
        opened = current()
        own = read_id("itemid", itemid, opened.manifest.dataset.item_ids)
        is_new = own not in base_of(opened).numbers

        def removed(before: Record | None) -> Record | None:
            if before.title is None if before else is_new:
                raise UnknownItemError(own)
            return None if is_new else Record()

        store.change(opened.manifest.dataset.base_name, own, removed)
        return state(own)


# --- likes, attributes, removed items


def may_be_liked(record: Record | None) -> bool:
    """Whether another like of a new item is kept: only the first `LIKES` are."""
    return record is not None and record.title is not None and len(record.likes) < LIKES


def liked_before(base: Release, user: StoredUser, second: int) -> tuple[OwnId, ...]:
    """The newest of the release's items that a user had liked before a second."""
    history = base.current(user, second).history
    found = history.itemids[history.ratings > base.manifest.dataset.positive_level]
    return tuple(base.catalogue[each].own_id for each in found.tolist() if each in base.catalogue)[:BEFORE]


def with_like(record: Record | None, before: tuple[OwnId, ...]) -> Record | None:
    """Add a like to a record."""
    if record is None or not may_be_liked(record):
        return record
    return record.model_copy(update={"likes": (*record.likes, before)})


def without_hidden(request: Request, opened: Release, user: StoredUser) -> StoredUser:
    """The user, with removed items left out of the search in Elasticsearch."""
    if not isinstance(opened, Extended) or user.is_blank or not len(opened.hidden):
        return user
    return user.without(opened.hidden)


def with_attributes(opened: Release, record: Record, given: Mapping[str, list[str] | float | None]) -> Record:
    """Set a record's attributes. Raises BadRequestError, naming those that exist."""
    dataset, spec = opened.manifest.dataset, opened.spec
    values: dict[str, list[str]] = {name: [] for name in dataset.terms}
    for attribute, value in map(dataset.attribute_and_value, spec.genres):
        values[attribute].append(value)
    numbers = {number.name for number in dataset.numbers}
    terms, changed = dict(record.terms), dict(record.numbers)
    for name, wanted in given.items():
        if name in values:
            if not isinstance(wanted, list):
                raise BadRequestError("attributes", f"{name} must be a list of values.")
            if unknown := [each for each in wanted if each not in values[name]]:
                raise no_value("attributes", name, unknown[0], values[name])
            terms[name] = list(dict.fromkeys(wanted))
        elif name in numbers:
            if isinstance(wanted, list):
                raise BadRequestError("attributes", f"{name} must be a number, or null where it is unknown.")
            changed[name] = wanted
        else:
            raise no_attribute("attributes", name, {*values, *numbers})
    return record.model_copy(update={"terms": terms, "numbers": changed})
