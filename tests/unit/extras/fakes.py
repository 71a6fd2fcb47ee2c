"""In-memory fakes of the extras' stores in Redis."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from extras.events.log import Recording
from extras.faults.declaration import ActiveFault, Fault
from extras.items.store import Change as ItemChange
from extras.items.store import Kept, Query, Record, after
from extras.page.hook import Listing
from extras.search.meaning import DIMS, NearQuery
from extras.search.text import TextQuery, Words
from extras.trials.changes import start_experiment, stop_experiment
from extras.trials.exposures import Exposure
from extras.trials.quality import Report
from extras.trials.state import Canary, Declaration, Experiment, Trials
from extras.trials.store import Change
from online.clients.base import Client, ServiceError
from tests.unit.online.fakes import Fake, FakeItems, FakeUsers


class FakeLog(Fake, Client[Recording, tuple[bool, ...]]):
    service = "redis"

    """``users`` gives the events back with a user's state."""

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users

    def _call(self, query: Recording) -> tuple[bool, ...]:
        self._seen(query)
        new = []
        for event in query.events:
            key = (query.dataset, event.userid, event.eventid)
            new.append(key not in self.users.events)
            self.users.events.setdefault(
                key, Logged(event.timestamp, (len(self.users.events), 0), event)
            )
        return tuple(new)

    def forget(self, userid: OwnId, dataset: str) -> int:
        with self._requested("forget", userid):
            keys = [key for key in self.users.events if key[:2] == (dataset, userid)]
            for key in keys:
                del self.users.events[key]
            self.users.forgotten.add((dataset, userid))
            self.users.forgets += 1
            return len(keys)


class FakeItemStore(Fake, Client[Query, Kept]):
    service = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[OwnId, Record]] = {}
        self.version = 0

    def _call(self, query: Query) -> Kept:
        self._seen(query)
        return Kept(self.version, dict(self.records.get(query.dataset, {})), {})

    def change(self, dataset: str, changes: Mapping[OwnId, ItemChange]) -> int:
        with self._requested("change", tuple(changes)):
            records = self.records.setdefault(dataset, {})
            changed = after(changes, records, len(records), self.version)
            self.version += len(changed)
            for own, record in changed.items():
                if record is None:
                    del records[own]
                else:
                    records[own] = record
            return self.version

    def forget(self, dataset: str, user: OwnId) -> int:
        forget: ItemChange = lambda was: was and was.with_like(user, ())  # noqa: E731
        return self.change(
            dataset, dict.fromkeys(self.records.get(dataset, {}), forget)
        )


class FakeTrials(Fake, Client[None, Trials]):
    """Trials, their counts and exposures, and the report on quality. ``heard``: after somebody changed a trial."""

    service = "redis"

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users
        self.state = Trials()
        self.found = Report()
        self.exposed: list[Exposure] = []
        self.sampled: list[Exposure] = []
        self.added: dict[tuple[str, int], Counter[str]] = {}
        self.heard: Callable[[], object] = lambda: None

    def _call(self, query: None) -> Trials:
        self._seen()
        return self.state

    def update(self, change: Change) -> Trials:
        with self._requested("update"):
            self.state = change(self.state)
            return self.state

    def run(self, name: str, control: str, treatment: str, **given: Any) -> Experiment:
        """Start an experiment over these two releases, which are taken to be kept."""
        arms = {"control": {"release": control}, "treatment": {"release": treatment}}
        declared = Declaration.model_validate({"name": name, "arms": arms, **given})
        kept = dict.fromkeys((control, treatment), self.users.worlds[control].dataset)
        self.update(lambda before: start_experiment(before, declared, kept))
        self.heard()
        return self.state.named(name)

    def stop(self, name: str) -> None:
        self.update(lambda before: stop_experiment(before, name))
        self.heard()

    def counted(self, canary: Canary, counts: Mapping[str, int]) -> dict[str, int]:
        with self._requested("counted"):
            added = self.added.setdefault((canary.name, canary.step), Counter())
            added.update(counts)
            return dict(added)

    def expose(self, exposures: Sequence[Exposure]) -> None:
        with self._requested("expose"):
            self.exposed += [each for each in exposures if each.experiment]
            self.sampled += [each for each in exposures if not each.experiment]

    def exposures(self, trial: str = "", since_ms: int = 0) -> Iterator[Exposure]:
        return (each for each in self.exposed if each.experiment == trial)

    def events_of(
        self, dataset: str, userids: Sequence[OwnId]
    ) -> dict[OwnId, list[Event]]:
        logged = {userid: self.users.events_of(dataset, userid) for userid in userids}
        return {
            userid: [each.event for each in theirs] for userid, theirs in logged.items()
        }

    def report(self, dataset: str, window_s: int) -> Report:
        with self._requested("report"):
            return self.found


class FakeFaults(Fake, Client[None, dict[str, ActiveFault]]):
    service = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.active: dict[str, ActiveFault] = {}
        self.begun: list[Fault] = []

    def _call(self, query: None) -> dict[str, ActiveFault]:
        self._seen()
        return dict(self.active)

    def begin(self, fault: Fault) -> None:
        with self._requested("begin", fault):
            self.begun.append(fault)
            self.active[fault.service] = ActiveFault(
                **fault.model_dump(), until=time.time() + fault.seconds
            )

    def end(self) -> None:
        with self._requested("end"):
            self.active = {}


class FakeUserList(Fake, Client[Listing, list[tuple[str, int]]]):
    service = "redis"

    def __init__(self, users: FakeUsers) -> None:
        super().__init__()
        self.users = users

    def _call(self, query: Listing) -> list[tuple[str, int]]:
        self.users.some_users(query.release, 1)
        world = self.users.worlds[query.release]
        events = {
            str(own): len(world.histories[number])
            for own, number in world.numbers.items()
        }
        order = (lambda name: (events[name], name)) if query.fewest else str.encode
        gone = {
            str(userid) for of, userid in self.users.forgotten if of == query.dataset
        }
        found = sorted(
            (name for name in events.keys() - gone if name.startswith(query.prefix)),
            key=order,
        )
        return [(name, events[name]) for name in found[: query.at_most]]


class FakeSentences(Fake, Client[str, Float32]):
    """Triton's encoder of sentences: a vector that depends on the text alone."""

    service = "triton"
    prepared = 0

    def prepare(self) -> None:
        self.prepared += 1
        if self.down:
            raise ServiceError(self.service, "is down")

    def _call(self, query: str) -> Float32:
        self._seen(query)
        return np.full(DIMS, len(query), np.float32)


class FakeNear(Fake, Client[NearQuery, Hits]):
    """Elasticsearch's search by meaning: every query means the same items."""

    service = "elasticsearch"
    means: Sequence[int] = ()

    def _call(self, query: NearQuery) -> Hits:
        self._seen(query)
        allowed = np.isin(self.means, query.seen, invert=True)
        if query.only is not None:
            allowed &= np.isin(self.means, query.only)
        found = np.array(self.means, np.int64)[allowed]
        return Hits(found, 0.9 - 0.1 * np.arange(len(found)))


class FakeText(Fake, Client[TextQuery, Hits]):
    """Elasticsearch's search by words: down when the search by vectors is."""

    service = "elasticsearch"

    def __init__(self, items: FakeItems) -> None:
        super().__init__()
        self.items = items

    def _call(self, query: TextQuery) -> Hits:
        self._seen(query)
        world = self.items._world(query.release)
        shown = {number: world.shown(number) for number in world.itemids}
        words = Words(
            {number: (item.title, item.attributes) for number, item in shown.items()}
        )
        return words.find(query)
