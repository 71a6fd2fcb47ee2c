from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from data_exchange_center import VERSION
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import Stores, manifest_path, open_release
from stack import commands, preflight, releases
from stack.commands import by_name
from stack.recsys import main
from stack.service import (
    BIN,
    AbsentError,
    NotReadyError,
    Service,
    StackError,
    environment_of,
)
from stack.supervision import describe
from tests.synthetic_release import write_artifacts

# commands


class FakeSupervisor:
    """Programs that run, and some that were started with other settings."""

    running = True
    environment: ClassVar[dict[str, str]] = {}

    def __init__(
        self, former: Settings, names: Iterable[str], changed: Iterable[str] = ()
    ) -> None:
        self.former, self.names, self.changed = former, set(names), changed
        self.done: list[str] = []

    def described(self, service: Service) -> str:
        return describe(service, self.former) + " " * (service.name in self.changed)

    def describe(self, *_: object) -> None:
        pass

    def launch(self) -> None:
        pass

    def stop(self, service: Service) -> None:
        self.names.discard(service.name)

    def run(self, service: Service) -> None:
        self.names.add(service.name)
        self.done.append(f"run {service.name}")

    def alive(self) -> set[str]:
        return self.names

    def processes(self) -> dict[str, dict[str, object]]:
        return {name: {"statename": "RUNNING", "start": 1} for name in self.names}


@pytest.mark.parametrize(
    ("alive", "changed", "former", "given", "done"),
    [
        pytest.param(
            {"redis", "elasticsearch", "triton"},
            {"triton"},
            {},
            "redis",
            ["run triton", "wait redis", "wait triton"],
            id="what a new setting stopped is started again",
        ),
        pytest.param(
            {"redis"},
            {"triton", "redis"},
            {},
            "elasticsearch",
            ["run redis", "run elasticsearch", "wait redis", "wait elasticsearch"],
            id="what a person stopped stays stopped",
        ),
        pytest.param(
            {"redis"},
            set(),
            {},
            "server",
            ["try", "run server", "wait server"],
            id="a server is tried, then started",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {},
            "redis",
            ["wait redis"],
            id="nothing to do for a server that runs",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {"budget_ms": 300},
            "redis",
            ["try", "wait redis", "renew"],
            id="a server with other settings gets new workers",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {"port": 1},
            "redis",
            ["try", "run server", "wait redis"],
            id="a server with another address is restarted, and may have no release yet",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {},
            "feast",
            ["try", "run feast", "wait feast", "renew"],
            id="new workers call a service that was started",
        ),
    ],
)
def test_what_up_does(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    alive: set[str],
    changed: set[str],
    former: dict[str, int],
    given: str,
    done: list[str],
) -> None:
    server = settings.server.model_copy(update=former)
    supervisor = FakeSupervisor(
        settings.model_copy(update={"server": server}), alive, changed
    )
    monkeypatch.setattr(commands, "Supervisor", lambda _: supervisor)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(
        commands.server, "try_to_start", lambda *_: supervisor.done.append("try")
    )
    monkeypatch.setattr(
        commands.server, "renew", lambda *_: supervisor.done.append("renew")
    )
    waits = lambda _, __, service: supervisor.done.append(f"wait {service.name}")  # noqa: E731
    monkeypatch.setattr(commands, "wait_until_ready", waits)
    commands.up(settings, [by_name(given)])
    assert supervisor.done == done


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECSYS_SERVER__DIVERSITY", "2"),
        ("RECSYS_SEARCH__TEXT_WEIGHT", "2"),
        ("RECSYS_SERVER__EXTRAS", "foo"),
        ("RECSYS_SERVER__HOST", "300.1.1.1"),
        ("RECSYS_FEAST__HOST", "no.such.host.invalid"),
        ("RECSYS_RECIPE", "nothing.json"),
    ],
)
def test_a_wrong_setting_of_the_server_is_one_sentence(
    settings: Settings, variable: str, value: str
) -> None:
    """The sentence names the variable, and nothing was started."""
    answer = command(settings, "stack", "serve", **{variable: value})
    assert answer.returncode == 1
    (sentence,) = answer.stderr.strip().splitlines()
    assert variable in sentence
    assert not (settings.service_dir("supervisor") / "supervisord.pid").exists()


def command(
    settings: Settings, module: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **environment_of(settings),
        "PATH": "/usr/bin:/bin",
        "RECSYS_UID": "1000",
        **variables,
    }
    given = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        given, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [(["redis"], "Redis is stopped"), ([], "everything is stopped; the data stays")],
)
def test_down_without_a_stack_is_no_error(
    settings: Settings, names: list[str], said: str
) -> None:
    answer = command(settings, "stack", "down", *names)
    assert (answer.returncode, answer.stderr.strip()) == (0, said)


def test_status_without_a_stack_names_what_is_stopped(settings: Settings) -> None:
    answer = command(settings, "stack", "status")
    assert answer.returncode == 1
    assert "Redis: stopped" in answer.stdout
    assert "server: stopped" not in answer.stdout.lower()  # nobody need have started it


@pytest.mark.parametrize(
    "call", [("stack", "up"), ("stack", "serve"), ("stack.containers",)], ids=" ".join
)
def test_an_unusable_exchange_folder_is_one_sentence(
    settings: Settings, tmp_path: Path, call: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    answer = command(
        settings.model_copy(update={"exchange_dir": tmp_path / "file" / "exchange"}),
        *call,
    )
    assert answer.returncode == 1
    (sentence,) = answer.stderr.strip().splitlines()
    assert str(tmp_path / "file") in sentence
    assert "RECSYS_EXCHANGE_DIR" in sentence


@pytest.mark.parametrize("degraded", [True, False])
def test_a_server_without_a_stopped_service_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, degraded: bool
) -> None:
    def version(*_: object) -> str:
        raise AbsentError("redis cannot be reached.", ["redis"], degraded=degraded)

    server = by_name("server")
    monkeypatch.setattr(type(server), "version", version)
    started = time.monotonic()
    with pytest.raises(
        AbsentError if degraded else StackError, match="redis cannot be reached"
    ):
        commands.wait_until_ready(
            settings, FakeSupervisor(settings, ["server"]), server
        )  # type: ignore[arg-type]
    assert time.monotonic() - started < 5


def test_a_service_that_will_be_started_again_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, service = ["EXITED", "STARTING", "RUNNING"], by_name("redis")

    def version(*_: object) -> str:
        if states:
            raise NotReadyError("it does not answer yet")
        return "9.1"

    monkeypatch.setattr(type(service), "version", version)
    supervisor = SimpleNamespace(
        processes=lambda: {"redis": {"statename": states.pop(0), "start": 1}}
    )
    assert commands.wait_until_ready(Settings(), supervisor, service) == "9.1"  # type: ignore[arg-type]


# recsys


@pytest.mark.parametrize(
    ("arguments", "module", "passed"),
    [
        (["status"], "stack", ["status"]),
        (["up", "redis", "feast"], "stack", ["up", "redis", "feast"]),
        (["releases"], "stack.releases", ["list"]),
        (["activate", "89736b400bb4"], "stack.releases", ["activate", "89736b400bb4"]),
        (["import", "my folder"], "extras.own_data.proposal", ["my folder"]),
        (["doctor"], "extras.doctor", []),
    ],
)
def test_a_command_runs_its_module(
    arguments: list[str],
    module: str,
    passed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = []
    monkeypatch.setattr(sys, "argv", ["recsys"])
    monkeypatch.setattr(
        runpy,
        "run_module",
        lambda name, run_name: ran.append((name, run_name, sys.argv[1:])),
    )
    main(arguments)
    assert ran == [(module, "__main__", passed)]


def test_the_installed_command_runs_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ratings.csv").write_text(
        "user,item,stars,time\n1,2,5,978300760\n2,1,4,978300761\n"
    )

    def run(*arguments: str) -> str:
        return subprocess.run(
            [BIN / "recsys", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run("--version").split() == ["recsys", VERSION]
    assert "dataset.toml" in run("import", "data")
    assert (tmp_path / "data" / "dataset.toml").is_file()


# releases


def test_activating_says_whose_files_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    store = SimpleNamespace(
        published=lambda release: SimpleNamespace(manifest=manifest)
    )
    monkeypatch.setattr(releases, "RedisStore", lambda _: store)
    other = settings.model_copy(update={"recipe_name": "source"})
    releases.warn_of_other_files(other, manifest.release)
    assert [
        record for record in caplog.records if record.name == releases.log.name
    ] == []
    releases.warn_of_other_files(other, "before")  # its files were made again
    assert f"RECSYS_RECIPE={manifest.recipe.name} make offline" in caplog.text


def test_list_has_each_releases_data_set_recipe_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    os.utime(manifest_path(settings, manifest.release), (86_400, 86_400))
    held = {manifest.release, "published", "loaded"}

    def published(release: str) -> Any:
        if release != manifest.release:
            raise StepError("its manifest cannot be read")
        return SimpleNamespace(manifest=manifest)

    redis = SimpleNamespace(
        title="Redis",
        releases=lambda: held,
        published=published,
        listed=lambda: (manifest.release, [manifest.release, "published"]),
    )
    triton = SimpleNamespace(title="Triton", releases=lambda: held - {"loaded"})
    others = [
        SimpleNamespace(title=title, releases=lambda: held)
        for title in ("Elasticsearch", "Feast")
    ]
    monkeypatch.setattr(Stores, "of", lambda _: Stores(redis, *others, triton))  # type: ignore[arg-type]
    table = releases.overview(settings)
    rows = zip(*(column.cells for column in table.columns), strict=True)
    assert list(rows) == [
        (
            manifest.release,
            "live",
            manifest.dataset.name,
            manifest.recipe.name,
            "1970-01-02 00:00",
            "all",
        ),
        ("published", "published", "-", "-", "-", "all"),
        ("loaded", "loaded", "-", "-", "-", "Redis, Elasticsearch, Feast"),
    ]
