import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from data_exchange_center.settings import Settings
from extras.diversity.hook import DiversitySettings
from extras.faults.declaration import FaultSettings
from extras.search.meaning import SearchSettings
from extras.tracing.hook import TracingSettings
from extras.trials.decision import CanarySettings
from extras.trials.quality import QualitySettings
from stack.elasticsearch.node import node_settings
from stack.elasticsearch.service import HEAP
from stack.feast import FLAGS as FEAST_FLAGS
from stack.redis import FLAGS as REDIS_FLAGS
from stack.service import ROOT
from stack.triton import service as triton

IMAGES = ROOT / "stack" / "images"
EXTENSIONS = (
    CanarySettings,
    DiversitySettings,
    FaultSettings,
    QualitySettings,
    SearchSettings,
    TracingSettings,
)


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's tags, for a list that replaces the one of the file below and for a key that removes it."""


ComposeLoader.add_constructor("!override", ComposeLoader.construct_sequence)
ComposeLoader.add_constructor("!reset", lambda loader, node: RESET)
RESET = {"context": "removed"}  # a valid `build`, for the schema


def loaded(name: str) -> dict[str, Any]:
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), ComposeLoader)


FILES = {
    name: loaded(f"docker-compose{name}.yml") for name in ("", ".official", ".ports")
}
COMPOSE, OFFICIAL, PORTS = FILES.values()
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_it_is_valid_by_the_compose_specification(content: dict[str, Any]) -> None:
    schema = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.validate(content, json.loads(schema.read_text()))


@pytest.mark.parametrize(
    ("name", "flags"),
    [("redis", REDIS_FLAGS), ("feast", FEAST_FLAGS), ("triton", triton.FLAGS)],
)
def test_a_container_runs_with_the_options_of_the_local_service(
    name: str, flags: tuple[str, ...]
) -> None:
    command = SERVICES[name]["command"]
    words = command[-1].replace("'", "").split() if command[0] == "sh" else command
    assert [word for word in words if word in flags] == list(flags)


def test_elasticsearch_has_the_settings_of_the_local_node() -> None:
    environment = SERVICES["elasticsearch"]["environment"]
    local = node_settings(Path("/usr/share/elasticsearch"), {})
    elsewhere = {"path.home", "path.data", "path.logs", "network.host"}
    heap = {"ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}"}
    common = {name: local[name] for name in local.keys() - elsewhere}
    assert environment == common | heap


def test_every_container_gives_up_what_it_does_not_need() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert service["pids_limit"], name
        assert ("cap_add" in service) == (name == "prepare"), name
        assert ("mem_limit" in service) == (name != "steps"), name
    assert SERVICES["prepare"]["network_mode"] == "none"


def test_services_have_no_way_out_of_this_machine() -> None:
    """Docker publishes no port of an internal network, and gives it no route to others."""
    assert COMPOSE["networks"]["services"]["internal"]
    inner = ("redis", "elasticsearch", "feast", "triton")
    assert all(SERVICES[name]["networks"] == ["services"] for name in inner)
    assert all(PORTS["services"][name]["networks"] == ["outward"] for name in inner)
    outward = {
        name
        for name, service in SERVICES.items()
        if "outward" in service.get("networks", ())
    }
    assert outward == {"server", "steps", "prometheus", "grafana", "jaeger"}


def test_the_generated_password_is_mounted_where_it_is_read() -> None:
    """By folder and read-only; `prepare` generates it, as the local stack does."""
    inside = "/run/secrets/redis/password"
    own = Settings(exchange_dir=Path("/")).password_file("redis")
    source = f"${{RECSYS_EXCHANGE_DIR:-./data_exchange_center}}{own.parent}"
    readers = {
        name
        for name, service in SERVICES.items()
        if f"{source}:/run/secrets/redis:ro" in service.get("volumes", ())
    }
    assert readers == {"redis", "feast", "server", "steps"}
    for name in ("server", "steps"):
        environment = SERVICES[name]["environment"]
        assert environment["RECSYS_REDIS__PASSWORD_FILE"] == inside
    for name in ("redis", "feast"):
        assert inside in SERVICES[name]["command"][-1]


def test_nothing_is_published_beyond_this_machine() -> None:
    for content in FILES.values():
        for name, service in content["services"].items():
            ports = service.get("ports", ())
            assert all(port.startswith("127.0.0.1:") for port in ports), name
            assert service.get("network_mode", "none") == "none"


def test_every_setting_of_the_server_reaches_it_with_its_default() -> None:
    environment = SERVICES["server"]["environment"]
    # which it has of its own, as it listens everywhere within and is published on 127.0.0.1 alone, or does not read
    of_the_image = {"host", "port", "key", "keys_file", "allowed_hosts", "published_on"}
    groups = {"RECSYS_SERVER__": Settings().server.model_dump(exclude=of_the_image)}
    for extension in EXTENSIONS:
        prefix = extension.model_config["env_prefix"]
        groups |= {prefix: groups.get(prefix, {}) | extension().model_dump()}
    for prefix, values in groups.items():
        for name, value in values.items():
            variable = f"{prefix}{name.upper()}"
            empty, given = f"${{{variable}:-}}", f"${{{variable}:-{value}}}"
            assert environment[variable] in (empty, given), variable


def pins(path: Path) -> dict[str, str]:
    """Package -> version, as a file of locked packages has it."""
    pin = r"(?m)^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)"
    return dict(re.findall(pin, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "image", ["redis", "elasticsearch", "feast", "server", "steps"]
)
def test_images_install_the_local_stacks_versions_by_hash(image: str) -> None:
    locked = IMAGES / f"{image}.txt"
    local, found = pins(ROOT / "requirements-dev.txt"), pins(locked)
    own = dict(found.items() - local.items())
    # which this machine brings itself
    assert own.keys() <= {"gnumake"}
    assert 0 < len(found) <= locked.read_text(encoding="utf-8").count("--hash=sha256:")


@pytest.mark.parametrize("name", ["", "-docs", "-mcp", "-research"])
def test_a_package_has_one_version_in_all_lock_files(name: str) -> None:
    """So that what is added to an environment leaves what is there as it is."""
    locked = pins(ROOT / f"requirements{name}.txt")
    assert locked.items() <= pins(ROOT / "requirements-dev.txt").items()


def test_builds_get_proxies_by_arguments_no_layer_keeps() -> None:
    """By Docker's own names for them: others would be in `docker history`. A name alone is the environment's value."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    proxies = dict.fromkeys((*names, *map(str.lower, names)))
    built = [each["build"] for each in SERVICES.values() if "build" in each]
    for each in built:
        assert each["args"] == {"PYTHON": "${PYTHON_IMAGE}:${PYTHON_TAG}", **proxies}
    dockerfile = (IMAGES / "Dockerfile").read_text()
    assert not re.search(r"(?im)^(ARG|ENV) .*proxy", dockerfile)


# Docker sh.


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
