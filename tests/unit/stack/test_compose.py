from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS
from stack.elasticsearch.jars import locked_jars
from stack.elasticsearch.node import node_settings
from stack.elasticsearch.service import HEAP
from stack.feast.service import FLAGS as FEAST_FLAGS
from stack.redis.service import FLAGS as REDIS_FLAGS
from stack.redis.service import LINE, binary
from stack.service import ROOT, Service
from stack.triton import service as triton

IMAGES = ROOT / "stack" / "images"
ids = {"ids": lambda service: service.name}


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's tag for a list that replaces the one of the file below."""


ComposeLoader.add_constructor("!override", ComposeLoader.construct_sequence)


def loaded(name: str) -> dict[str, Any]:
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), ComposeLoader)


COMPOSE, BUILD = loaded("docker-compose.yml"), loaded("docker-compose.build.yml")
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("content", [COMPOSE, BUILD], ids=["docker-compose.yml", "docker-compose.build.yml"])
def test_it_is_valid_by_the_compose_specification(content: dict[str, Any]) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(content, schema)


@pytest.mark.parametrize(
    ("name", "flags"),
    [("redis", REDIS_FLAGS), ("feast", FEAST_FLAGS), ("triton", (*triton.FLAGS, *triton.restricted("$$key")))],
)
def test_a_container_runs_with_the_options_of_the_local_service(name: str, flags: tuple[str, ...]) -> None:
    words = SERVICES[name]["command"][-1].replace("'", "").split()
    assert [word for word in words if word in flags] == list(flags)


def test_elasticsearch_has_the_settings_of_the_local_node() -> None:
    environment = SERVICES["elasticsearch"]["environment"]
    local = node_settings(Path("/usr/share/elasticsearch"), {})
    assert {name: local[name] for name in environment if name in local} == {
        name: value for name, value in environment.items() if name in local
    }
    assert set(local) - set(environment) == {"path.home", "path.data", "path.logs", "network.host"}
    assert environment["ES_JAVA_OPTS"] == f"-Xms{HEAP} -Xmx{HEAP}"


def test_every_container_gives_up_what_it_does_not_need() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {"prepare"}
    assert {name for name, service in SERVICES.items() if service.get("read_only")} == {
        "prepare", "server", "steps", "prometheus", "grafana",
    }  # fmt: skip
    assert SERVICES["prepare"]["network_mode"] == "none"


@pytest.mark.parametrize("service", PROGRAMS, **ids)
def test_ports_are_on_loopback_and_moved_by_the_settings(service: Service) -> None:
    ports = [f"127.0.0.1:${{{port.variable}:-{port.container}}}:{port.container}" for port in service.ports]
    assert SERVICES[service.name]["ports"] == ports


def test_nothing_is_published_beyond_this_machine() -> None:
    for content in (COMPOSE, BUILD):
        for name, service in content["services"].items():
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
            assert "network_mode" not in service or service["network_mode"] == "none"


def test_every_setting_of_the_server_reaches_it_with_its_default() -> None:
    environment = SERVICES["server"]["environment"]
    # which it has of its own, as it listens everywhere within and is published on 127.0.0.1 alone, or does not read
    of_the_image = {"host", "port", "key", "keys_file", "allowed_hosts", "strict_for"}
    for group in ("server", "tracing"):
        for name, value in getattr(Settings(), group).model_dump().items():
            variable = f"RECSYS_{group.upper()}__{name.upper()}"
            if name not in of_the_image:
                default = re.fullmatch(rf"\$\{{{variable}:-(.*)\}}", environment[variable])
                assert default is not None, variable
                assert default[1] in ("", str(value)), variable


def pins(path: Path) -> dict[str, str]:
    """Package -> version, as a file of locked packages has it."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("image", ["redis", "elasticsearch", "feast", "server", "steps"])
def test_an_image_installs_the_versions_of_the_local_stack_by_hash(image: str) -> None:
    locked = IMAGES / f"{image}.txt"
    local = pins(ROOT / "requirements-dev.txt")
    found = pins(locked)
    assert found
    assert {name: version for name, version in found.items() if local.get(name, version) != version} == {}
    assert set(found) - set(local) <= {"gnumake"}  # which this machine brings itself
    assert locked.read_text(encoding="utf-8").count("--hash=sha256:") >= len(found)


def test_every_build_is_told_of_the_proxies_by_arguments_that_no_layer_keeps() -> None:
    """By Docker's own names for them: others would be in `docker history`. A name alone is the environment's value."""
    services = [*SERVICES.values(), *BUILD["services"].values()]
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    for each in (service["build"] for service in services if "build" in service):
        assert each["args"] == {"PYTHON": "${PYTHON_IMAGE}:${PYTHON_TAG}", **dict.fromkeys(proxies)}
    assert not re.search(r"^(ARG|ENV) .*proxy", (IMAGES / "Dockerfile").read_text(), re.IGNORECASE | re.MULTILINE)


def test_what_containers_read_as_somebody_else_is_copied_by_way_of_the_stage_that_makes_it_readable() -> None:
    """A checkout under umask 077 has files that root alone could read in an image."""
    for stage in (IMAGES / "Dockerfile").read_text().split("\nFROM ")[1:]:
        name = stage.splitlines()[0].split(" AS ")[1]
        plain = [line for line in stage.splitlines() if re.match(r"COPY (?!--from|--chmod|\S+ /locked/)", line)]
        # source mends the modes; jars runs as root, while building
        assert not plain or name in ("source", "jars"), name


def test_the_software_on_this_machine_is_of_the_version_that_the_image_has() -> None:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    tags = {name: re.sub(r"@sha256:[0-9a-f]{64}$", "", value) for name, value in pairs}  # Renovate adds digests
    jars = {jar.coordinate.split(":")[2] for jar in locked_jars() if jar.coordinate.startswith("org.elasticsearch")}
    assert jars == {tags["ELASTICSEARCH_TAG"]}
    assert pins(ROOT / "requirements.txt")["feast"] == version("feast") == tags["FEAST_TAG"]
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"Valkey server v={LINE}." in said
    assert tags["REDIS_TAG"].startswith(f"{LINE}.")
