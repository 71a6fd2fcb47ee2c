import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stack.service import ROOT

SCRIPT = ROOT / "stack/docker.sh"
WELL = {"compose version --short": "2.26.1", "version --format": "20.10.24"}
RUNNING = {**WELL, "compose ps": "id", "inspect": "healthy"}
PASSWORD = "exchange/online/secrets/redis/password"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """docker.sh with a docker that gives these answers by the start of its arguments; one with ! is a failure."""
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.touch(0o755)
    own = {
        "PATH": f"{docker.parent}:{os.defpath}",
        "HOME": str(tmp_path),
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "exchange"),
    }

    def said_by(
        arguments: str, answers: Mapping[str, str] = WELL, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        cases = [
            f"{shlex.quote(start)}*) echo {shlex.quote(answer.removeprefix('!'))} "
            + (">&2; exit 1;;" if answer.startswith("!") else "; exit 0;;")
            for start, answer in answers.items()
        ]
        noted = f'echo "$*|$COMPOSE_FILE|$RECSYS_EXCHANGE_DIR" >> {tmp_path}/requested'
        text = ["#!/bin/bash", noted, 'case "$*" in', *cases, "esac\n"]
        docker.write_text("\n".join(text))
        return subprocess.run(
            [SCRIPT, *arguments.split()],
            env={**own, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return said_by


def requested(tmp_path: Path) -> list[str]:
    return (tmp_path / "requested").read_text().splitlines()


NO_COMPOSE = {"compose version": "!unknown command"}
NO_RIGHT = {"version --format": "!docker.sock: permission denied"}
NO_ENGINE = {"version --format": "!Cannot connect to the Docker daemon"}
OLD_ENGINE = {"version --format": "19.03.1"}
ALLOCATED = {"compose up": "!127.0.0.1:16379 failed: port is already allocated"}
IN_USE = {"compose up": "!127.0.0.1:16379: bind: address already in use"}
REFUSED = {
    "compose up": '!service "prepare" didn\'t complete successfully: exit 1',
    "compose logs --no-log-prefix --tail 1 prepare": "x belongs to user 5",
}
UNHEALTHY = {
    "compose up": "!dependency failed to start: container recsys-triton-1 is unhealthy",
    "compose logs": "no such model",
}
PORT = {"RECSYS_REDIS__PORT": "16379"}
NO_PATH = {"RECSYS_EXCHANGE_DIR": "/dev/null/exchange"}
NO_FILE = {"RECSYS_REDIS__PASSWORD_FILE": "/none"}
TAKEN = "choose another with RECSYS_REDIS__PORT."
COLON = "/a:b has a colon, which Docker cannot mount: choose a path without"
# Arguments, what docker answers otherwise than WELL, variables -> what the last line says
WRONG: list[tuple[str, dict[str, str], dict[str, str], str]] = [
    ("up", NO_COMPOSE, {}, "docker has no Compose: install"),
    ("up", NO_RIGHT, {}, "you may not use Docker: join the group docker"),
    ("up", NO_ENGINE, {}, "Docker's engine does not answer: start it"),
    ("up", OLD_ENGINE, {}, "Docker's engine is 19.03.1, and 20.10"),
    ("up", {}, {"images": "mine"}, "images is 'mine': it can be built or official."),
    ("up", ALLOCATED, PORT, TAKEN),
    ("up", IN_USE, PORT, TAKEN),
    ("up", REFUSED, {}, "x belongs to user 5"),
    ("up", UNHEALTHY, {}, "triton did not become healthy"),
    ("run make", {}, {"RECSYS_DATA": "/no"}, "RECSYS_DATA names /no, which does not"),
    ("run true", {}, {"RECSYS_DATA": "/a:b"}, COLON),
    ("run true", {}, {"RECSYS_EXCHANGE_DIR": "/a:b"}, COLON),
    ("up", {}, NO_PATH, "/dev/null/exchange cannot be made: choose a folder"),
    ("up", {}, NO_FILE, "PASSWORD_FILE names /none, which cannot be read."),
    ("logs", {}, {}, "there is no container yet: make docker-up."),
]


@pytest.mark.parametrize(("arguments", "answers", "variables", "said"), WRONG)
def test_errors_are_one_sentence(
    run: Run,
    arguments: str,
    answers: dict[str, str],
    variables: dict[str, str],
    said: str,
) -> None:
    """After what Docker said itself, if it did."""
    done = run(arguments, {**answers, **WELL, **answers}, **variables)
    assert done.returncode == 1
    *before, last = done.stderr.splitlines()
    assert said in last
    assert "compose up" in answers or before == []


def test_without_docker_it_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    for tool in ("bash", "dirname", "id", "env", "mkdir", "mktemp", "rm"):
        (tmp_path / "tools" / tool).symlink_to(Path("/usr/bin") / tool)
    done = run("up", PATH=str(tmp_path / "tools"))
    assert done.returncode == 1
    assert done.stderr.startswith("docker is not installed")


@pytest.mark.parametrize(
    "variables",
    [
        {"RECSYS_REDIS__PASSWORD": "s3cret with $ and '"},
        {"RECSYS_REDIS__PASSWORD_FILE": "mine"},
    ],
)
def test_the_password_goes_into_a_file_that_others_cannot_reach(
    run: Run, tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "mine").write_text("s3cret with $ and '\n")
    done = run("run true", **variables)
    assert done.returncode == 0, done.stderr
    file = tmp_path / PASSWORD
    assert file.read_text() == "s3cret with $ and '"
    modes = [path.stat().st_mode & 0o777 for path in (file.parent, file)]
    assert modes == [0o700, 0o600]
    assert "s3cret" not in "".join(requested(tmp_path))


def test_another_password_recreates_the_containers(run: Run, tmp_path: Path) -> None:
    for password in ("first", "first", "second"):
        done = run("up", RUNNING, RECSYS_REDIS__PASSWORD=password)
        assert done.returncode == 0, done.stderr
    starts = [line for line in requested(tmp_path) if line.startswith("compose up")]
    assert ["--force-recreate" in line for line in starts] == [False, False, True]
    refused = run("run true", RUNNING, RECSYS_REDIS__PASSWORD="third")
    assert refused.returncode == 1
    assert "make docker-up" in refused.stderr
    assert (tmp_path / PASSWORD).read_text() == "second"


def test_a_relative_path_is_the_callers(run: Run, tmp_path: Path) -> None:
    """Docker takes a relative path for the name of a volume, and mounts an empty one."""
    (tmp_path / "my data").mkdir()
    done = run("run true", RECSYS_DATA="my data", RECSYS_EXCHANGE_DIR="my exchange")
    assert done.returncode == 0, done.stderr
    *_, line = requested(tmp_path)
    mounted = f"--volume {tmp_path}/my data:/data/my data:ro --env RECSYS_DATA=/data/my data steps"
    assert mounted in line
    assert f"|{tmp_path}/my exchange" in line


def test_a_local_stack_on_the_same_folder_is_refused(run: Run, tmp_path: Path) -> None:
    pid_file = tmp_path / "exchange/online/supervisor/supervisord.pid"
    pid_file.parent.mkdir(parents=True)
    local = ["bash", "-c", "read -r", "supervisord"]
    with subprocess.Popen(local, stdin=subprocess.PIPE) as process:
        pid_file.write_text(f"{process.pid}\n")
        done = run("up")
        process.communicate()
    assert done.returncode == 1
    said = f"the local stack runs on {tmp_path}/exchange: end it first (make down)"
    assert done.stderr.startswith(said)
    gone = run("up", {**WELL, "compose up": "!no"})
    assert "the local stack" not in gone.stderr
