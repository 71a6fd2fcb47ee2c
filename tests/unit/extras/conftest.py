"""A server with all extras, over fakes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from data_exchange_center.settings import Settings
from extras.keys import store as keys
from extras.trials.serving import Serving
from online.main.s1_server import create_app
from online.web.parts import Parts
from tests.unit.extras.fakes import (
    FakeFaults,
    FakeItemStore,
    FakeLog,
    FakeText,
    FakeTrials,
    FakeUserList,
)
from tests.unit.online.conftest import Fakes as CoreFakes
from tests.unit.online.conftest import fakes as core_fakes  # noqa: F401 (fixtures)
from tests.unit.online.conftest import opened  # noqa: F401
from tests.unit.online.world import KINDS, DefaultWorld, World

# a test whose subject depends on the recipe
BOTH_KINDS = pytest.mark.parametrize("kind", KINDS)


@dataclass
class Fakes(CoreFakes):
    """With what extras write to."""

    log: FakeLog
    trials: FakeTrials
    new_items: FakeItemStore
    text: FakeText
    faults: FakeFaults = field(default_factory=FakeFaults)
    app: Flask = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.recommender, stores=self.stores)
        self.trials.heard = lambda: self.serving.follow()

    @property
    def serving(self) -> Serving:
        """How the server answers while trials run."""
        return self.app.extensions["trials"]  # type: ignore[no-any-return]

    @property
    def parts(self) -> Parts:
        return self.app.extensions["recsys"]  # type: ignore[no-any-return]

    @property
    def stores(self) -> dict[str, Any]:
        return {
            "events": self.log,
            "trials": self.trials,
            "faults": self.faults,
            "items": self.new_items,
            "page": FakeUserList(self.users),
            "search": self.text,
        }

    def client(self, **server: Any) -> FlaskClient:
        """Client of another server over the same services, with these settings."""
        settings = Settings(server=server)
        return create_app(self.recommender, settings, self.stores).test_client()


@pytest.fixture
def kind() -> type[World]:
    """Kind of the world; a test that is about another is parametrised with it."""
    return DefaultWorld


@pytest.fixture
def fakes(core_fakes: CoreFakes) -> Fakes:  # noqa: F811
    users = core_fakes.users
    # at once, where a server's thread takes half a second
    users.changed = core_fakes.follow
    return Fakes(
        **vars(core_fakes),
        log=FakeLog(users),
        trials=FakeTrials(users),
        new_items=FakeItemStore(),
        text=FakeText(core_fakes.items),
    )


@pytest.fixture
def http(fakes: Fakes) -> FlaskClient:
    return fakes.app.test_client()


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """Address of a server of this WSGI application."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def url(fakes: Fakes) -> Iterator[str]:
    with serving(fakes.app) as address:
        yield address


@pytest.fixture
def with_a_key(fakes: Fakes, tmp_path: Path) -> FlaskClient:
    """Client of a server that has keys; sends one with every request."""
    path = tmp_path / "api_keys"
    http = fakes.client(keys_file=path)
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {keys.add(path, 'shop')}"
    return http
