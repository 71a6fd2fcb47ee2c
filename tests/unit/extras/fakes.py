"""In-memory fakes of the extras' stores in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_exchange_center.dataset import OwnId
from extras.events.events import Logged
from extras.events.log import Forgotten, Recording, TooManyEventsError
from extras.experiments.declaration import EXPERIMENTS as ALL
from extras.experiments.declaration import Declaration, Experiment, Experiments, named, started, stopped
from extras.experiments.store import Change, Exposure
from extras.items.store import Change as ItemChange
from extras.items.store import Kept as ItemsKept
from extras.items.store import Query, Record, after
from extras.page.users import Listing
from online.clients.base import Client
from tests.unit.online.fakes import Fake, FakeUsers


class FakeLog(Fake, Client[Recording, tuple[bool, ...]]):
    service = "redis"

    """``users`` gives the events back with a user's state."""

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users
        self.full = False  # no more events are taken that count

    def _call(self, query: Recording) -> tuple[bool, ...]:
        self._seen(query)
        if self.full and any(event.type not in query.noted for event in query.events):
            raise TooManyEventsError("Too many events of this user.")
        new = []
        for event in query.events:
            key = (query.dataset, event.userid, event.eventid)
            new.append(key not in self.users.events)
            self.users.events.setdefault(key, Logged(event.timestamp, (len(self.users.events), 0), event))
        return tuple(new)

    def forget(self, userid: OwnId, dataset: str) -> Forgotten:
        with self._asked("forget", userid):
            keys = [key for key in self.users.events if key[:2] == (dataset, userid)]
            for key in keys:
                del self.users.events[key]
            self.users.forgotten.add((dataset, userid))
            self.users.forgets += 1
            return Forgotten(len(keys), sum(userid in world.numbers for world in self.users.worlds.values()))


class FakeItemStore(Fake, Client[Query, ItemsKept]):
    service = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[OwnId, Record]] = {}
        self.version = 0

    def _call(self, query: Query) -> ItemsKept:
        self._seen(query)
        same = query.version == self.version
        return ItemsKept(self.version, None if same else dict(self.records.get(query.dataset, {})))

    def change(self, dataset: str, own: OwnId, change: ItemChange) -> None:
        with self._asked("change", own):
            records = self.records.setdefault(dataset, {})
            record = after(change, records.get(own), own, len(records), self.version)
            if record is None:
                del records[own]
            else:
                records[own] = record
            self.version += 1


class FakeExperiments(Fake, Client[None, Experiments]):
    """``users`` tells requests which of them run."""

    service = "redis"

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users
        self.experiments: Experiments = ()
        self.exposed: list[Exposure] = []

    def _call(self, query: None) -> Experiments:
        self._seen()
        return self.experiments

    def update(self, change: Change) -> Experiments:
        with self._asked("update"):
            self.experiments = change(self.experiments)
            running = tuple(each for each in self.experiments if each.runs)
            self.users.experiments = ALL.dump_json(running) if running else None
            return self.experiments

    def run(self, name: str, control: str, treatment: str, **given: Any) -> Experiment:
        """Start one over these two releases, which are taken to be kept."""
        arms = {"control": {"release": control}, "treatment": {"release": treatment}}
        declared = Declaration.model_validate({"name": name, "arms": arms, **given})
        kept = dict.fromkeys((control, treatment), self.users.worlds[control].dataset)
        now = len(self.experiments)
        return named(self.update(lambda before: started(before, declared, kept, now)), name)

    def stop(self, name: str) -> None:
        self.update(lambda before: stopped(before, name, len(self.experiments)))

    def expose(self, exposures: Sequence[Exposure]) -> None:
        with self._asked("expose"):
            self.exposed += exposures


class FakeUserList(Fake, Client[Listing, list[tuple[str, int]]]):
    service = "redis"

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users

    def _call(self, query: Listing) -> list[tuple[str, int]]:
        self.users.some_users(query.release, 1)
        world = self.users.worlds[query.release]
        events = {str(own): len(world.histories[number]) for own, number in world.numbers.items()}
        order = (lambda name: (events[name], name)) if query.fewest else str.encode
        gone = {str(userid) for of, userid in self.users.forgotten if of == query.dataset}
        found = sorted((name for name in events.keys() - gone if name.startswith(query.prefix)), key=order)
        return [(name, events[name]) for name in found[: query.at_most]]
