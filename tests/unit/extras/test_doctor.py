from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from rich.console import Console

from data_exchange_center import artifacts
from data_exchange_center.events import Event
from data_exchange_center.manifest import ParityRecord
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.doctor import __main__ as doctor
from extras.doctor.__main__ import Finding, examine, show
from extras.events.event_parts import Entry, EventParts
from offline_to_online.releases import Stores, open_release, record_parity
from online.clients.base import ServiceError
from tests.free_ports import settings_on_free_ports
from tests.http_server import serving
from tests.synthetic_release import write_artifacts
from tests.unit.online.conftest import SERVICES


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Whole artifacts; nothing runs."""
    write_artifacts(tmp_path)
    return settings_on_free_ports(tmp_path)


def clients(*down: str) -> list[Any]:
    gone = {name: ServiceError(name, "cannot be reached") for name in down}
    return [
        Mock(service=name, ping=Mock(side_effect=gone.get(name, ["1.2"])))
        for name in SERVICES
    ]


class Held(SimpleNamespace):
    """A store with the given content."""

    def is_checked(self, release: str) -> bool:
        return release in self.holds

    def listed(self) -> tuple[str | None, list[str]]:
        return self.is_live, self.published


def stores(
    settings: Settings,
    *holds: str,
    live: str | None = None,
    published: tuple[str, ...] = (),
    without: str = "",
) -> Stores:
    def held(store: Any) -> Any:
        there = () if store.title == without else holds
        return Held(
            title=store.title,
            step=store.step,
            holds=there,
            is_live=live,
            published=list(published),
        )

    return Stores(*map(held, Stores.of(settings)))


def next_command(found: list[Finding]) -> str:
    console = Console(record=True, width=200)
    show(found, console)
    return re.search(
        r"Run next:  (.*)$|All is well", console.export_text(), re.MULTILINE
    )[0].strip()  # type: ignore[index]


def state(found: list[Finding], what: str) -> tuple[str, str]:
    (finding,) = [each for each in found if each.what.endswith(what)]
    return finding.state, finding.detail


def test_before_anything_was_run(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    found = examine(settings, clients("redis"), stores(settings))
    assert state(found, "s0_get_data.py") == (
        "missing",
        "there is no offline/raw/dataset.json",
    )
    assert state(found, "s2_model_train.py")[0] == "missing"
    assert next_command(found) == "Run next:  make offline"


def test_after_the_offline_steps_the_services_are_started(settings: Settings) -> None:
    found = examine(settings, clients("feast"), stores(settings))
    assert [each.state for each in found[:7]] == ["done"] * 7
    assert state(found, "redis") == ("up", "1.2")
    assert state(found, "feast") == ("down", "cannot be reached")
    assert next_command(found) == "Run next:  make up"


def test_a_changed_input_is_named_and_its_outputs_are_stale(settings: Settings) -> None:
    spec = artifacts.FEATURE_SPEC.at(settings.exchange_dir)
    spec.write_text(spec.read_text() + "\n")
    found = list(doctor.offline_steps(settings))
    assert state(found, "s1_feature_engi.py")[0] == "done"
    assert state(found, "s2_model_train.py") == (
        "stale",
        "offline/feature_spec.json has changed since",
    )
    assert next_command(found) == "Run next:  make offline"


def test_a_missing_file_of_events_is_named(settings: Settings) -> None:
    parts = EventParts(settings.events_dir("films"))
    for place in (1, 2):
        parts.append(3, [Entry((place, 0), 1, Event(f"e{place}", 1, 7, "rating", 5))])
    assert "events" not in [
        each.what for each in examine(settings, clients(), stores(settings))
    ]
    parts.files()[0].unlink()
    found = examine(settings, clients(), stores(settings))
    assert state(found, "events")[0] == "missing"
    assert "make events" in next_command(found)


def test_another_recipe_makes_every_step_stale(settings: Settings) -> None:
    found = list(
        doctor.offline_steps(settings.model_copy(update={"recipe_name": "source"}))
    )
    for step in ("s2_term_trans.py", "s2_model_train.py"):
        name, detail = state(found, step)
        assert name == "stale"
        assert "it was run with recipe 'default', the recipe now is 'source'" in detail


def checked(settings: Settings) -> str:
    manifest = open_release(settings)
    record = ParityRecord(
        users=1,
        pairs=256,
        largest_difference=1e-7,
        triton_model="ml_rec",
        triton_version=1,
    )
    record_parity(settings, manifest, record)
    return manifest.release


def test_unsynced_releases_lead_to_make_sync(settings: Settings) -> None:
    release = open_release(settings).release
    found = examine(settings, clients(), stores(settings, release, without="Feast"))
    assert state(found, "s1_user_to_redis.py")[0] == "done"
    assert state(found, "s1_feature_to_feast.py") == (
        "missing",
        f"release {release} is not in Feast, or not wholly",
    )
    assert state(found, "s3_check_offline_and_online.py")[0] == "missing"
    assert state(found, "s1_go_live.py") == ("not live", "no release is")
    assert next_command(found) == "Run next:  make sync"
    checked(settings)
    found = examine(settings, clients(), stores(settings, release, live="another"))
    assert state(found, "s3_check_offline_and_online.py") == (
        "done",
        "256 pairs agree to 1.0e-07",
    )
    assert state(found, "s1_go_live.py") == ("not live", "release another is live")
    assert next_command(found) == "Run next:  make sync"


@pytest.fixture
def answering(settings: Settings) -> Iterator[tuple[Settings, dict[str, Any]]]:
    """A server that answers /readyz with what the test puts into the dictionary."""
    said: dict[str, Any] = {}

    with serving(lambda *_: (200, json.dumps(said).encode())) as port:
        server = settings.server.model_copy(update={"port": port})
        yield settings.model_copy(update={"server": server}), said


@pytest.mark.parametrize(
    ("said", "expected", "command"),
    [
        (
            {"status": "ready", "release": "theirs"},
            ("up", "answers from release"),
            "All is well",
        ),
        (
            {"status": "ready", "release": "another"},
            ("not live", "from release another"),
            "Run next:  make serve",
        ),
        (
            {"status": "unready", "release": None, "message": "no rel"},
            ("unready", "no rel"),
            "Run next:  make logs",
        ),
        (
            {"status": "degraded", "release": "theirs"},
            ("degraded", "a service"),
            "Run next:  make logs",
        ),
        ({"not": "ours"}, ("down", "nothing answers"), "Run next:  make serve"),
    ],
)
def test_the_server_is_the_last_line(
    answering: tuple[Settings, dict[str, Any]],
    said: dict[str, Any],
    expected: tuple[str, str],
    command: str,
) -> None:
    settings, answer = answering
    release = checked(settings)
    answer |= said | ({"release": release} if said.get("release") == "theirs" else {})
    found = examine(settings, clients(), stores(settings, release, live=release))
    assert (found[-1].what, found[-1].state) == ("server", expected[0])
    assert expected[1] in found[-1].detail
    assert next_command(found) == command


@pytest.mark.parametrize(
    ("serving_from", "command"),
    [("earlier", "All is well"), ("later", "Run next:  make serve")],
)
def test_a_rollback_needs_no_repair(
    answering: tuple[Settings, dict[str, Any]], serving_from: str, command: str
) -> None:
    settings, answer = answering
    release = checked(settings)
    answer |= {"status": "ready", "release": serving_from}
    held = stores(
        settings, release, "earlier", live="earlier", published=("earlier", release)
    )
    found = examine(settings, clients(), held)
    name, detail = state(found, "s1_go_live.py")
    assert name == "note"
    assert "release earlier is active" in detail
    assert f"`make sync` would put {release} live" in detail
    assert next_command(found) == command


def test_a_store_that_fails_meanwhile_is_a_line_and_not_the_end(
    settings: Settings,
) -> None:
    held = stores(settings)
    held.redis.is_checked = Mock(
        side_effect=StepError("Redis at here failed", "Start it.")
    )
    found = examine(settings, clients(), held)
    assert state(found, "release") == ("unknown", "Redis at here failed")


def test_exit_code_is_1_unless_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for found, code in (
        ([Finding("redis", "up", "7")], 0),
        ([Finding("redis", "down", "away", "make up")], 1),
    ):
        monkeypatch.setattr(doctor, "examine", lambda *_, found=found: found)
        monkeypatch.setattr(doctor, "settings_of_live", lambda settings: settings)
        with pytest.raises(SystemExit) as ended:
            run(doctor.main)
        assert ended.value.code == code
    assert "Run next:  make up" in capsys.readouterr().out
