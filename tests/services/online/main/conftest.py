"""A server under load, for what happens to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from data_exchange_center.settings import Settings
from tests.services.online.gunicorn_server import running
from tests.services.online.load import Load, load
from tests.unit.online.world import AT, World

CLIENTS, PAUSE_S = 4, 0.05
BUDGET_MS: Final = 4000  # the default is for a machine of one's own
USERS: Final = (1, 2, 3)


@dataclass(frozen=True)
class Busy:
    """A server under gunicorn that many ask."""

    stack: Settings
    load: Load

    def wait_whole(self, within_s: float) -> None:
        """Until an answer lacks nothing."""
        self.load.wait(lambda answer: answer.whole, within_s)

    def wait_whole_for_all(self, within_s: float) -> None:
        """The same for each user, who is known to the server then."""
        for userid in USERS:
            self.load.wait(lambda answer, asked=userid: answer.whole and answer.body["userid"] == asked, within_s)


@pytest.fixture(scope="module")
def busy(patient: Settings, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    bodies = [{"userid": userid, "timestamp": AT, "budget_ms": BUDGET_MS} for userid in USERS]
    folder = tmp_path_factory.mktemp("busy")
    server = patient.server.model_copy(update={"budget_ms": BUDGET_MS, "workers": 1, "threads": 8})
    own = patient.model_copy(update={"exchange_dir": folder, "server": server})
    with running(folder, own) as (started, _), load(started.server.url, bodies, CLIENTS, PAUSE_S) as asked:
        yield Busy(patient, asked)
    assert "unexpected error" not in (folder / "server.log").read_text()
