from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from stack.service import ROOT

SCRIPT = ROOT / "stack/docker.sh"
WELL = {"compose version --short": "2.26.1", "version --format": "20.10.24"}


def said_by(
    tmp_path: Path,
    answers: dict[str, str],
    *arguments: str,
    cwd: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """docker.sh with a docker that gives these answers by the start of its arguments; one with ! is a failure."""
    cases = "\n".join(
        f"    {start.replace(' ', chr(92) + ' ')}*) echo {shlex.quote(answer.removeprefix('!'))} "
        + (">&2; exit 1 ;;" if answer.startswith("!") else "; exit 0 ;;")
        for start, answer in answers.items()
    )
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(
        f'#!/bin/bash\nprintf "%s|%s|%s\\n" "$*" "$COMPOSE_FILE" "$RECSYS_EXCHANGE_DIR" >> {tmp_path}/requested\n'
        f'echo "${{BUILDX_CONFIG:-}}" > {tmp_path}/notes\n'
        f'case "$*" in\n{cases}\nesac\n'
    )
    docker.chmod(docker.stat().st_mode | stat.S_IEXEC)
    environment = {
        "PATH": f"{docker.parent}:{os.defpath}",
        "HOME": str(tmp_path),
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "exchange"),
        **variables,
    }
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def requested(tmp_path: Path) -> list[str]:
    return (tmp_path / "requested").read_text().splitlines()


TAKEN = {
    "Docker 20": "!Error: Bind for 127.0.0.1:16379 failed: port is already allocated",
    "Linux": "!listen tcp4 127.0.0.1:16379: bind: address already in use",
}
REFUSED = {
    "compose up": '!service "prepare" didn\'t complete successfully: exit 1',
    "compose logs --no-log-prefix --tail 1 prepare": "x belongs to user 5",
}
UNHEALTHY = {
    "compose up": "!dependency failed to start: container recsys-triton-1 is unhealthy",
    "compose logs": "no such model",
}
# Arguments, what docker answers otherwise than WELL, variables -> the end of what is said
WRONG: dict[str, tuple[str, dict[str, str], dict[str, str], str]] = {
    "no Compose": (
        "up",
        {"compose version": "!unknown command"},
        {},
        "^docker has no Compose: install",
    ),
    "not of the group": (
        "up",
        {"version --format": "!dial unix /var/run/docker.sock: permission denied"},
        {},
        "^you may not use Docker: join the group docker",
    ),
    "no engine": (
        "up",
        {"version --format": "!Cannot connect to the Docker daemon"},
        {},
        "^Docker's engine does not answer: start it",
    ),
    "an old engine": (
        "up",
        {"version --format": "19.03.1"},
        {},
        "^Docker's engine is 19.03.1, and 20.10",
    ),
    "other images": (
        "up",
        {},
        {"images": "mine"},
        "^images is 'mine': it can be built or official.$",
    ),
    **{
        f"a taken port, as of {version}": (
            "up",
            {"compose up": said},
            {"RECSYS_REDIS__PORT": "16379"},
            r"port 16379 is taken: stop what listens there.*choose another with RECSYS_REDIS__PORT\.$",
        )
        for version, said in TAKEN.items()
    },
    "what prepare refuses": ("up", REFUSED, {}, "x belongs to user 5$"),
    "an unhealthy service": (
        "up",
        UNHEALTHY,
        {},
        "no such model\ntriton did not become healthy",
    ),
    "data that is not there": (
        "run make offline",
        {},
        {"RECSYS_DATA": "/none.zip"},
        "^RECSYS_DATA names /none.zip, which does not exist;",
    ),
    **{
        f"{variable} with a colon": (
            "run true",
            {},
            {variable: "/a:b"},
            "^/a:b has a colon, which Docker cannot mount: choose a path without",
        )
        for variable in ("RECSYS_DATA", "RECSYS_EXCHANGE_DIR")
    },
    "a folder that cannot be made": (
        "up",
        {},
        {"RECSYS_EXCHANGE_DIR": "/dev/null/exchange"},
        "^/dev/null/exchange cannot be made: choose a folder",
    ),
    "a password's file that is not there": (
        "up",
        {},
        {"RECSYS_REDIS__PASSWORD_FILE": "/none"},
        "^RECSYS_REDIS__PASSWORD_FILE names /none, which cannot be read.$",
    ),
    "no log yet": ("logs", {}, {}, "^there is no container yet: make docker-up.$"),
}


@pytest.mark.parametrize(
    ("arguments", "answers", "variables", "end"), WRONG.values(), ids=WRONG
)
def test_errors_are_one_sentence(
    tmp_path: Path,
    arguments: str,
    answers: dict[str, str],
    variables: dict[str, str],
    end: str,
) -> None:
    """After what Docker said itself, if it did."""
    done = said_by(
        tmp_path, answers | (WELL | answers), *arguments.split(), **variables
    )
    assert done.returncode == 1
    assert re.search(end, done.stderr.strip(), re.MULTILINE)
    assert "compose up" in answers or len(done.stderr.splitlines()) == 1


def test_without_docker_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "id", "env", "mkdir", "mktemp", "rm"):
        (tmp_path / "bin" / tool).symlink_to(Path("/usr/bin") / tool)
    done = subprocess.run(
        ["/usr/bin/bash", str(SCRIPT), "up"],
        env={"PATH": str(tmp_path / "bin"), "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("docker is not installed")


def test_the_password_goes_into_a_file_that_others_cannot_reach(tmp_path: Path) -> None:
    done = said_by(
        tmp_path, WELL, "run", "true", RECSYS_REDIS__PASSWORD="s3cret with $ and '"
    )
    assert done.returncode == 0, done.stderr
    file = tmp_path / "exchange/online/secrets/redis/password"
    assert file.read_text() == "s3cret with $ and '"
    assert (
        stat.S_IMODE(file.parent.stat().st_mode),
        stat.S_IMODE(file.stat().st_mode),
    ) == (0o700, 0o600)
    assert not any("s3cret" in line for line in requested(tmp_path))


def test_a_password_in_a_file_of_yours_is_copied(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("s3cret\n")
    done = said_by(
        tmp_path, WELL, "run", "true", cwd=tmp_path, RECSYS_REDIS__PASSWORD_FILE="mine"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exchange/online/secrets/redis/password").read_text() == "s3cret"


RUNNING = {**WELL, "compose ps": "id", "inspect": "healthy"}


def test_another_password_recreates_the_containers(tmp_path: Path) -> None:
    for password in ("first", "first", "second"):
        done = said_by(tmp_path, RUNNING, "up", RECSYS_REDIS__PASSWORD=password)
        assert done.returncode == 0, done.stderr
    starts = [line for line in requested(tmp_path) if line.startswith("compose up")]
    assert ["--force-recreate" in line for line in starts] == [False, False, True]
    refused = said_by(tmp_path, RUNNING, "run", "true", RECSYS_REDIS__PASSWORD="third")
    assert (refused.returncode, "make docker-up" in refused.stderr) == (1, True)
    assert (tmp_path / "exchange/online/secrets/redis/password").read_text() == "second"


def test_a_relative_path_is_the_callers(tmp_path: Path) -> None:
    """Docker takes a relative path for the name of a volume, and mounts an empty one."""
    (tmp_path / "my data").mkdir()
    own = {
        "RECSYS_DATA": "my data",
        "RECSYS_EXCHANGE_DIR": "my exchange",
        "RECSYS_REDIS__PASSWORD": "s3cret",
    }
    done = said_by(tmp_path, WELL, "run", "true", cwd=tmp_path, **own)
    assert done.returncode == 0, done.stderr
    mounted = f"--volume {tmp_path}/my data:/data/my data:ro --env RECSYS_DATA=/data/my data steps"
    assert mounted in requested(tmp_path)[-1]
    assert (
        tmp_path / "my exchange/online/secrets/redis/password"
    ).read_text() == "s3cret"
    assert f"|{tmp_path}/my exchange" in requested(tmp_path)[-1]


def test_a_local_stack_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    pid_file = tmp_path / "exchange/online/supervisor/supervisord.pid"
    pid_file.parent.mkdir(parents=True)
    with subprocess.Popen(
        ["bash", "-c", "read -r", "supervisord"], stdin=subprocess.PIPE
    ) as process:
        pid_file.write_text(f"{process.pid}\n")
        done = said_by(tmp_path, WELL, "up")
        process.communicate()
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"the local stack runs on {tmp_path}/exchange: end it first (make down)"
    )
    gone = said_by(tmp_path, {**WELL, "compose up": "!no"}, "up")
    assert "the local stack" not in gone.stderr
