"""supervisord's configuration, read back the way supervisord reads it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from supervisor.options import ServerOptions

from data_exchange_center.settings import Settings
from online.stack import supervision
from online.stack.catalogue import PROGRAMS, by_name
from online.stack.service import ROOT, StackError
from online.stack.supervision import MARK, render
from tests.free_ports import settings_on_free_ports


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_on_free_ports(tmp_path)


def programs(settings: Settings, tmp_path: Path) -> dict[str, object]:
    """What supervisord makes of the rendered configuration, by program name."""
    path = tmp_path / "supervisord.conf"
    path.write_text(render(settings, PROGRAMS))
    settings.service_dir("logs").mkdir(parents=True, exist_ok=True)
    settings.service_dir("supervisor").mkdir(parents=True, exist_ok=True)
    options = ServerOptions()
    options.realize(["-c", str(path)])
    return {group.name: group.process_configs[0] for group in options.process_group_configs}


def test_supervisord_reads_back_commands_and_environments(settings: Settings, tmp_path: Path) -> None:
    read = programs(settings, tmp_path)
    assert set(read) == {service.name for service in PROGRAMS}
    for service in PROGRAMS:
        program, config = service.program(settings), read[service.name]
        assert tuple(shlex.split(config.command)) == program.command
        assert program.environment.items() <= config.environment.items()
        assert config.environment[MARK] == str(settings.service_dir("supervisor"))
        assert config.stdout_logfile == str(service.log(settings))
        assert config.directory == str(ROOT)
        assert config.autostart is False


def test_what_a_person_may_name_a_folder_or_a_password_comes_through(settings: Settings, tmp_path: Path) -> None:
    odd = settings.model_copy(
        update={
            "exchange_dir": tmp_path / "a folder, 100% mine; really",
            "redis": settings.redis.model_copy(update={"password": SecretStr("50%(here)s;, x")}),
        }
    )
    read = programs(odd, tmp_path)
    assert read["server"].environment["RECSYS_REDIS__PASSWORD"] == "50%(here)s;, x"
    assert read["server"].environment["RECSYS_EXCHANGE_DIR"] == str(odd.exchange_dir)
    assert tuple(shlex.split(read["redis"].command)) == by_name("redis").program(odd).command


@pytest.mark.parametrize("password", ["a\"b'c", 'ab"', "ab'", "'ab"])
def test_a_quotation_mark_that_supervisord_cannot_pass_on_is_said(settings: Settings, password: str) -> None:
    odd = settings.model_copy(update={"redis": settings.redis.model_copy(update={"password": SecretStr(password)})})
    with pytest.raises(StackError, match="has a quotation mark"):
        render(odd, PROGRAMS)


def test_a_single_quotation_mark_within_is_passed_on(settings: Settings, tmp_path: Path) -> None:
    odd = settings.model_copy(update={"redis": settings.redis.model_copy(update={"password": SecretStr("it's")})})
    assert programs(odd, tmp_path)["server"].environment["RECSYS_REDIS__PASSWORD"] == "it's"


def test_no_password_stands_in_a_process_list(settings: Settings) -> None:
    secret = settings.model_copy(update={"redis": settings.redis.model_copy(update={"password": SecretStr("hush")})})
    for service in PROGRAMS:
        assert "hush" not in " ".join(service.program(secret).command)
    config = secret.service_dir("supervisor") / "redis.conf"
    config.parent.mkdir(parents=True)
    config.touch(mode=0o644)  # as somebody has left it
    by_name("redis").prepare(secret)
    assert config.read_text() == 'requirepass "hush"\nprimaryauth "hush"\n'
    assert config.stat().st_mode & 0o077 == 0


def test_another_shell_makes_the_same_configuration(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    before = render(settings, PROGRAMS)
    monkeypatch.setenv("PATH", "/opt/tools/bin:/usr/bin:/bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/tools/lib")
    assert render(settings, PROGRAMS) == before


def test_a_changed_password_changes_redis_and_all_who_use_it(settings: Settings) -> None:
    """Redis reads it from a file of its own, so nothing else would tell the supervisor to start it anew."""
    secret = settings.model_copy(update={"redis": settings.redis.model_copy(update={"password": SecretStr("hush")})})
    changed = [p.name for p in PROGRAMS if p.program(secret).environment != p.program(settings).environment]
    assert changed == ["redis", "feast", "server"]


def test_nothing_can_be_stopped_where_no_stack_is_up(settings: Settings) -> None:
    supervision.Supervisor(settings).stop(by_name("redis"))
    assert supervision.members(settings) == []


def test_a_supervisor_that_stays_mute_is_one_sentence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_S", 0.1)
    monkeypatch.setattr(supervision.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    with pytest.raises(StackError, match=r"supervisord does not answer.*supervisord\.log"):
        supervision.Supervisor(settings).start(PROGRAMS)


def test_a_supervisor_that_does_not_end_is_no_stack_trace(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_S", 0.1)
    monkeypatch.setattr(supervision.Supervisor, "running", True)
    monkeypatch.setattr(supervision.Supervisor, "_rpc", Mock())
    supervision.Supervisor(settings).shutdown()
    assert supervision.members(settings) == []


def test_a_deep_exchange_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    one, two = (supervision.socket(Settings(exchange_dir=tmp_path / (letter * 120))) for letter in "xy")
    assert one != two
    assert len(os.fsencode(one)) <= 90
    assert supervision.socket(Settings(exchange_dir=Path("/srv/x"))) == Path("/srv/x/online/supervisor/supervisor.sock")


def test_what_would_start_a_comment_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="has a blank before"):
        render(settings.model_copy(update={"exchange_dir": tmp_path / "a #b"}), PROGRAMS)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0", exclude_categories=["C", "Z"]), max_size=30))
def test_environment_values_come_back(value: str) -> None:
    from supervisor.datatypes import dict_of_key_value_pairs

    if value != value.strip("'\"") or {"'", '"'} <= set(value):  # the supervisor would take them away
        with pytest.raises(StackError, match="quotation mark"):
            supervision._environment({"A": value})
        return
    rendered = supervision._environment({"A": value, "B": "2"})
    read = dict_of_key_value_pairs(rendered.replace("%%", "%"))
    assert read["B"] == "2"
    assert read["A"] == value
