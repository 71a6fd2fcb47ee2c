"""Rules may name an item that was added without a release."""

from __future__ import annotations

from data_exchange_center.settings import Settings
from extras.items.store import ItemStore, Record
from extras.questions.rules import added
from tests.unit.online.world import DefaultWorld


def test_items_that_were_added_are_known(settings: Settings) -> None:
    dataset = DefaultWorld().published.manifest.dataset
    assert added(settings, dataset) == {}
    store = ItemStore(settings.redis)
    for own, title in ((9001, "New"), (9002, None)):
        store.change(dataset.base_name, own, lambda before, held, title=title: Record(title=title))  # type: ignore[misc]
    assert added(settings, dataset) == {9001: "New"}
    store.close()
