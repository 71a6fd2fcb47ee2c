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
from extras.diversity.hook import DiversitySettings
from extras.faults.declaration import FaultSettings
from extras.search.settings import SearchSettings
from extras.tracing.hook import TracingSettings
from extras.trials.decision import CanarySettings
from extras.trials.quality import QualitySettings
from stack.commands import PROGRAMS
from stack.elasticsearch.jars import locked_jars
from stack.elasticsearch.node import LIMITS, node_settings
from stack.elasticsearch.service import HEAP
from stack.feast.service import FLAGS as FEAST_FLAGS
from stack.redis.service import FLAGS as REDIS_FLAGS
from stack.redis.service import LINE, binary
from stack.service import ROOT, Service
from stack.triton import service as triton

IMAGES = ROOT / "stack" / "images"
ids = {"ids": lambda service: service.name}


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


def env_file() -> dict[str, str]:
    """The variables of .env; Renovate adds digests to tags."""
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: re.sub(r"@sha256:[0-9a-f]{64}$", "", value) for name, value in pairs}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_it_is_valid_by_the_compose_specification(content: dict[str, Any]) -> None:
    schema = json.loads(
        (
            files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
        ).read_text()
    )
    jsonschema.validate(content, schema)


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
    assert {name: local[name] for name in environment if name in local} == {
        name: value for name, value in environment.items() if name in local
    }
    assert set(local) - set(environment) == {
        "path.home",
        "path.data",
        "path.logs",
        "network.host",
    }
    assert environment["ES_JAVA_OPTS"] == f"-Xms{HEAP} -Xmx{HEAP}"


def test_every_container_gives_up_what_it_does_not_need() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {
        "prepare"
    }
    assert all(service["read_only"] for service in SERVICES.values())
    assert SERVICES["prepare"]["network_mode"] == "none"


def test_services_have_no_way_out_of_this_machine() -> None:
    """Docker publishes no port of an internal network, and gives it no route to others."""
    assert COMPOSE["networks"]["services"]["internal"]
    for name in ("redis", "elasticsearch", "feast", "triton"):
        assert SERVICES[name]["networks"] == ["services"], name
        assert PORTS["services"][name]["networks"] == ["outward"], name
    outward = {
        name
        for name, service in SERVICES.items()
        if "outward" in service.get("networks", ())
    }
    assert outward == {"server", "steps", "prometheus", "grafana", "jaeger"}


def test_every_container_has_limits() -> None:
    assert all(service["pids_limit"] for service in SERVICES.values())
    assert {
        name for name, service in SERVICES.items() if "mem_limit" not in service
    } == {"steps"}


@pytest.mark.parametrize("service", PROGRAMS, **ids)
def test_ports_are_on_loopback_and_moved_by_the_settings(service: Service) -> None:
    ports = [
        f"127.0.0.1:${{{port.variable}:-{port.container}}}:{port.container}"
        for port in service.ports
        if not port.in_cluster_only
    ]
    content = COMPOSE if service.name == "server" else PORTS
    assert content["services"][service.name]["ports"] == ports


def test_the_generated_password_is_mounted_where_it_is_read() -> None:
    """By folder and read-only; `prepare` generates it, as the local stack does."""
    default = Settings(exchange_dir=Path("/exchange")).password_file("redis")
    source = f"${{RECSYS_EXCHANGE_DIR:-./data_exchange_center}}/{default.parent.relative_to('/exchange')}"
    mount = f"{source}:/run/secrets/redis:ro"
    readers = {
        name
        for name, service in SERVICES.items()
        if mount in service.get("volumes", ())
    }
    assert readers == {"redis", "feast", "server", "steps"}
    for name in ("server", "steps"):
        assert (
            SERVICES[name]["environment"]["RECSYS_REDIS__PASSWORD_FILE"]
            == f"/run/secrets/redis/{default.name}"
        )
    for name in ("redis", "feast"):
        assert f"/run/secrets/redis/{default.name}" in SERVICES[name]["command"][-1]


class TestOfficialImages:
    def test_official_elasticsearch_stores_no_unreadable_task(
        self, tmp_path: Path
    ) -> None:
        own = OFFICIAL["services"]["elasticsearch"]["environment"]
        assert own["ingest.geoip.downloader.enabled"] == "false"
        assert not set(own) & set(node_settings(tmp_path, own)), (
            "settings of modules that our node does not have"
        )

    def test_official_elasticsearch_limits_searches_as_ours(self) -> None:
        """Compose merges the environments of both files."""
        merged = (
            SERVICES["elasticsearch"]["environment"]
            | OFFICIAL["services"]["elasticsearch"]["environment"]
        )
        assert {name: merged.get(name) for name in LIMITS} == LIMITS


def test_nothing_is_published_beyond_this_machine() -> None:
    for content in FILES.values():
        for name, service in content["services"].items():
            assert all(
                port.startswith("127.0.0.1:") for port in service.get("ports", ())
            ), name
            assert "network_mode" not in service or service["network_mode"] == "none"


def test_every_setting_of_the_server_reaches_it_with_its_default() -> None:
    environment = SERVICES["server"]["environment"]
    # which it has of its own, as it listens everywhere within and is published on 127.0.0.1 alone, or does not read
    of_the_image = {"host", "port", "key", "keys_file", "allowed_hosts", "published_on"}
    extensions = (
        CanarySettings,
        DiversitySettings,
        FaultSettings,
        QualitySettings,
        SearchSettings,
        TracingSettings,
    )
    groups = [(each.model_config["env_prefix"], each()) for each in extensions]
    for prefix, settings in (("RECSYS_SERVER__", Settings().server), *groups):
        for name, value in settings.model_dump().items():
            variable = f"{prefix}{name.upper()}"
            if name not in of_the_image:
                default = re.fullmatch(
                    rf"\$\{{{variable}:-(.*)\}}", environment[variable]
                )
                assert default is not None, variable
                assert default[1] in ("", str(value)), variable


def pins(path: Path) -> dict[str, str]:
    """Package -> version, as a file of locked packages has it."""
    return dict(
        re.findall(
            r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;\\]+)",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )


@pytest.mark.parametrize(
    "image", ["redis", "elasticsearch", "feast", "server", "steps"]
)
def test_images_install_the_local_stacks_versions_by_hash(image: str) -> None:
    locked = IMAGES / f"{image}.txt"
    local = pins(ROOT / "requirements-dev.txt")
    found = pins(locked)
    assert found
    assert {
        name: version
        for name, version in found.items()
        if local.get(name, version) != version
    } == {}
    assert set(found) - set(local) <= {"gnumake"}  # which this machine brings itself
    assert locked.read_text(encoding="utf-8").count("--hash=sha256:") >= len(found)


def test_builds_get_proxies_by_arguments_no_layer_keeps() -> None:
    """By Docker's own names for them: others would be in `docker history`. A name alone is the environment's value."""
    proxies = (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    )
    for each in (
        service["build"] for service in SERVICES.values() if "build" in service
    ):
        assert each["args"] == {
            "PYTHON": "${PYTHON_IMAGE}:${PYTHON_TAG}",
            **dict.fromkeys(proxies),
        }
    assert not re.search(
        r"^(ARG|ENV) .*proxy",
        (IMAGES / "Dockerfile").read_text(),
        re.IGNORECASE | re.MULTILINE,
    )


def test_local_software_has_the_images_version() -> None:
    tags = env_file()
    jars = {
        jar.coordinate.split(":")[2]
        for jar in locked_jars()
        if jar.coordinate.startswith("org.elasticsearch")
    }
    assert jars == {tags["ELASTICSEARCH_TAG"]}
    assert (
        pins(ROOT / "requirements.txt")["feast"]
        == version("feast")
        == tags["FEAST_TAG"]
    )
    said = subprocess.run(
        [str(binary()), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert f"Valkey server v={LINE}." in said
    assert tags["REDIS_TAG"].startswith(f"{LINE}.")
