"""Upgrade a running stack from version 1.0.0 to this commit while clients ask, and go back.

Both are done as docs/guides/operations.md says, in one clone whose code is replaced beneath the running processes, with
MovieLens-100K. The commands run one after the other, and each is measured: its seconds, what the clients were answered
meanwhile, and the longest time without an answer.

Reads   the commits of this checkout
Writes  pic/figures/upgrade.json; fails where an acknowledged event is lost or counted twice, where the list of a user
        without events is another one afterwards, or where a request fails while the server is not being replaced
Run     python -m research.measure.upgrade, with RECSYS_DATA=<the archive of MovieLens-100K>
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import requests

from data_exchange_center import wire
from data_exchange_center.events import Event
from data_exchange_center.recipes import DEFAULT
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.events.log import event_log_key
from offline_to_online.stores.base import redis_client
from research import figures
from research.figures import FIGURES, ROOT

log = logging.getLogger(__name__)

OUTPUT: Final = FIGURES / "upgrade.json"
DATASET: Final = "ml-100k"
FORMER: Final = "bed226e3820df4d1e4aeabe71a267c9ea3bdf508"  # version 1.0.0
CLIENTS: Final = 2
PAUSE_S: Final = 0.05  # of a client after an answer
ASKING: Final = range(100, 200)  # users of the requests
SENDING: Final = range(200, 900)  # users of the events
QUIET: Final = 1  # a user without requests and events of the clients
# the commands that replace the server: a request may fail meanwhile
REPLACING: Final = ("`make serve`", "`make up`")


@dataclass(frozen=True)
class Answered:
    """An answer to a client; ``status`` 0: none."""

    at: float
    path: str
    status: int
    degraded: tuple[str, ...] = ()
    eventid: str = ""

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK


class Clients:
    """Clients that ask for lists, and one that sends events until each is acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.answers: list[Answered] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        asking = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        threads = [*asking, threading.Thread(target=self._send)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            for userid in ASKING:
                self._post("/ml/rec", {"userid": userid})
                if self._stop.wait(PAUSE_S):
                    return

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            number += 1
            event = {
                "eventid": f"upgrade-{number}",
                "userid": SENDING[number % len(SENDING)],
                "itemid": 50,
                "type": "rating",
                "value": 4,
            }
            while not (self._post("/ml/event", event).ok or self._stop.wait(PAUSE_S)):
                pass

    def _post(self, path: str, body: Mapping[str, Any]) -> Answered:
        began = time.monotonic()
        eventid = str(body.get("eventid", ""))
        try:
            answer = requests.post(f"{self._url}{path}", json=body, timeout=5)
        except requests.RequestException:
            answered = Answered(began, path, 0, eventid=eventid)
        else:
            lacks = answer.json().get("degraded", []) if answer.ok else []
            services = tuple(sorted({each["service"] for each in lacks}))
            answered = Answered(began, path, answer.status_code, services, eventid)
        self.answers.append(answered)
        return answered

    def acknowledged(self) -> set[str]:
        return {each.eventid for each in self.answers if each.eventid and each.ok}


def summary(
    command: str, began: float, ended: float, answers: list[Answered]
) -> dict[str, Any]:
    """What clients were answered while a command ran."""
    during = [each for each in answers if began <= each.at < ended]
    lists = [each for each in during if each.path == "/ml/rec"]
    events = [each for each in during if each.eventid]
    times = [began, *(each.at for each in lists if each.ok), ended]
    return {
        "command": f"`{command}`",
        "seconds": round(ended - began, 1),
        "requests": len(lists),
        "failed": sum(not each.ok for each in lists),
        "degraded": sum(bool(each.degraded) for each in lists),
        "degraded_by": dict(Counter(name for each in lists for name in each.degraded)),
        "longest_without_s": round(
            max(after - before for before, after in itertools.pairwise(times)),
            1,
        ),
        "events": sum(each.ok for each in events),
        "refused": sum(not each.ok for each in events),
    }


class Stack:
    """A clone with a stack of its own, and clients of its server."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.settings = Settings()
        self.clients = Clients(self.settings.server.url)

    def call(self, command: str) -> str:
        """Run a command in the clone; its output. Raises StepError."""
        done = subprocess.run(
            command.split(),
            cwd=self.checkout,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise StepError(f"{command} failed:\n{done.stdout[-3000:]}")
        return done.stdout

    def measured(self, command: str) -> dict[str, Any]:
        began = time.monotonic()
        self.call(command)
        ended = time.monotonic()
        time.sleep(0.1)  # the last answers come
        found = summary(command, began, ended, self.clients.answers)
        log.info("%s", found)
        return found

    def items(self) -> tuple[str, list[int]]:
        """The live release, and the list of the user whom nobody else asks for."""
        url = f"{self.settings.server.url}/ml/rec"
        body = {"userid": QUIET, "strict": True}
        answer = requests.post(url, json=body, timeout=30)
        answer.raise_for_status()
        found = answer.json()
        return found["release"], [item["itemid"] for item in found["item_list"]]

    def logged(self) -> list[str]:
        """The ids of all events in Redis."""
        keys = [event_log_key(DATASET, n) for n in range(wire.EVENT_PARTITIONS)]
        with redis_client(self.settings) as client:
            entries = [fields for key in keys for _, fields in client.xrange(key)]
        return [Event.unpack(fields[b"event"]).eventid for fields in entries]


def upgrade(stack: Stack, commit: str) -> dict[str, Any]:
    """Raises StepError where something is lost."""
    former, before = stack.items()
    with stack.clients.running():
        time.sleep(5)
        there = [
            stack.measured(command)
            for command in (
                f"git checkout {commit}",
                "make setup",
                "make offline",
                "make sync",
                "make serve",
            )
        ]
        new, _ = stack.items()
        back = [
            stack.measured(command)
            for command in (
                f"git checkout {FORMER[:8]}",
                "make setup",
                "make up",
                f"make activate release={former}",
            )
        ]
        time.sleep(5)
    release, after = stack.items()
    steps = [*there, *back]
    check(steps, stack, (former, before) == (release, after) and new != former)
    return {"steps": steps}


def check(steps: Sequence[Mapping[str, Any]], stack: Stack, same: bool) -> None:
    """Raises StepError for what was lost."""
    problems = []
    if not same:
        problems.append("the list of a user is another one after going back")
    logged = stack.logged()
    if lost := stack.clients.acknowledged() - {*logged}:
        problems.append(f"{len(lost)} acknowledged events are lost")
    if len(logged) != len({*logged}):
        problems.append("an event is there twice")
    for each in steps:
        if each["failed"] and each["command"] not in REPLACING:
            problems.append(
                f"{each['failed']} requests failed during {each['command']}"
            )
    if problems:
        raise StepError("; ".join(problems))


def measure(folder: Path) -> dict[str, Any]:
    """Upgrade and go back, in a folder that is empty. Raises StepError."""
    changes = {
        "RECSYS_EXCHANGE_DIR": str(folder / "exchange"),
        # Redis listens there in 1.0.0, and goes on so
        "RECSYS_REDIS__PORT": os.environ.get("RECSYS_REDIS__PORT", "6379"),
        "RECSYS_SERVICES_DIR": os.environ.get(
            "RECSYS_SERVICES_DIR", str(ROOT / ".services")
        ),
    }
    os.environ.update(changes)
    stack = Stack(folder / "recsys_pipeline")
    subprocess.run(["git", "clone", "--quiet", ROOT, stack.checkout], check=True)
    stack.call(f"git checkout --quiet {FORMER}")
    try:
        stack.call("make demo")
        return upgrade(stack, figures.commit())
    finally:
        stack.call("make down")


def main(_: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    command = "python -m research.measure.upgrade"
    fields = {"command": command, "dataset": DATASET, "recipe": DEFAULT.name}
    figures.write(OUTPUT, fields | found)


if __name__ == "__main__":
    run(main, about=__doc__)
