import json
import re
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


def test_builds_get_proxies_by_arguments_no_layer_keeps() -> None:
    """By Docker's own names for them: others would be in `docker history`. A name alone is the environment's value."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    proxies = dict.fromkeys((*names, *map(str.lower, names)))
    built = [each["build"] for each in SERVICES.values() if "build" in each]
    for each in built:
        assert each["args"] == {"PYTHON": "${PYTHON_IMAGE}:${PYTHON_TAG}", **proxies}
    dockerfile = (IMAGES / "Dockerfile").read_text()
    assert not re.search(r"(?im)^(ARG|ENV) .*proxy", dockerfile)
