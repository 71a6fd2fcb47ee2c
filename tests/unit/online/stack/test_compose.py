"""docker-compose.yml and .env say the same as the local stack's catalogue, and are valid."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from data_exchange_center.settings import Settings
from online.stack.catalogue import PROGRAMS, SERVICES
from online.stack.elasticsearch.jars import locked_jars
from online.stack.redis.service import binary
from online.stack.server import COMMAND
from online.stack.service import ROOT, Service
from online.stack.triton import service as triton

COMPOSE = ROOT / "docker-compose.yml"
FOLDER = "${RECSYS_EXCHANGE_DIR:-./data_exchange_center}/online/"
ids = {"ids": lambda service: service.name}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def tags() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: re.sub(r"@sha256:[0-9a-f]{64}$", "", value) for name, value in pairs}  # `make docker-pin`


def interpolated(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validate(compose, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"redis": {"imagee": "redis"}}}, schema)


def test_docker_accepts_it_where_there_is_a_docker_compose() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed; the schema has been checked all the same")
    subprocess.run([docker, "compose", "--file", str(COMPOSE), "config", "--quiet"], check=True, cwd=ROOT)


def test_it_has_the_four_services_and_the_server(compose: dict[str, Any]) -> None:
    assert list(compose["services"]) == [service.name for service in PROGRAMS]


@pytest.mark.parametrize("service", SERVICES, **ids)
class TestService:
    """One of the four, against its record in the catalogue."""

    def test_image_and_tag(self, service: Service, compose: dict[str, Any], tags: dict[str, str]) -> None:
        assert service.container is not None
        image = compose["services"][service.name]["image"]
        assert interpolated(image, tags) == f"{service.container.image}:{service.container.tag}"
        assert tags[service.container.tag_variable] == service.container.tag

    def test_command(self, service: Service, compose: dict[str, Any]) -> None:
        assert service.container is not None
        assert tuple(compose["services"][service.name].get("command", ())) == service.container.command

    def test_environment(self, service: Service, compose: dict[str, Any]) -> None:
        assert service.container is not None
        assert compose["services"][service.name].get("environment", {}) == dict(service.container.environment)

    def test_healthcheck(self, service: Service, compose: dict[str, Any]) -> None:
        assert service.container is not None
        assert tuple(compose["services"][service.name]["healthcheck"]["test"]) == service.container.healthcheck

    def test_mounts(self, service: Service, compose: dict[str, Any]) -> None:
        assert service.container is not None
        mounts = [f"{FOLDER}{folder}:{path}" for folder, path in service.container.mounts.items()]
        assert compose["services"][service.name]["volumes"] == mounts

    def test_mounted_folders_are_those_the_local_service_uses(self, service: Service, tmp_path: Path) -> None:
        settings = Settings(exchange_dir=tmp_path, services_dir=tmp_path / "software")
        service.prepare(settings)
        assert service.container is not None
        for folder in service.container.mounts:
            assert (tmp_path / "online" / folder).is_dir()

    def test_ports_are_on_loopback_and_moved_by_the_settings(self, service: Service, compose: dict[str, Any]) -> None:
        ports = [f"127.0.0.1:${{{port.variable}:-{port.container}}}:{port.container}" for port in service.ports]
        assert compose["services"][service.name]["ports"] == ports

    def test_restart_and_user(self, service: Service, compose: dict[str, Any]) -> None:
        assert compose["services"][service.name]["restart"] == "unless-stopped"
        assert compose["services"][service.name]["user"] == "${RECSYS_UID:-1000}:0"


@pytest.mark.parametrize("service", PROGRAMS, **ids)
def test_default_ports_of_the_settings_are_the_containers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for port in service.ports:
        monkeypatch.delenv(port.variable, raising=False)
    assert [port.number(Settings()) for port in service.ports] == [port.container for port in service.ports]


def test_only_the_server_can_be_reached_from_outside(compose: dict[str, Any]) -> None:
    open_ports = {
        name: port
        for name, service in compose["services"].items()
        for port in service["ports"]
        if "127.0.0.1" not in port
    }
    assert open_ports == {"server": "${RECSYS_SERVER__PORT:-5000}:5000"}


def test_nothing_starts_before_what_it_needs_is_healthy(compose: dict[str, Any]) -> None:
    healthy = {"condition": "service_healthy"}
    assert compose["services"]["server"]["depends_on"] == {service.name: healthy for service in SERVICES}
    assert compose["services"]["feast"]["depends_on"] == {"redis": healthy}
    assert all("healthcheck" in service for service in compose["services"].values())


class TestRedisPassword:
    """RECSYS_REDIS__PASSWORD reaches Redis and whoever asks it; unset, none is asked for."""

    variable = "${RECSYS_REDIS__PASSWORD:-}"

    def test_redis_feast_and_the_server_are_told(self, compose: dict[str, Any]) -> None:
        services = compose["services"]
        command = services["redis"]["command"]
        assert command[command.index("--requirepass") + 1] == self.variable
        assert services["redis"]["environment"]["REDISCLI_AUTH"] == self.variable  # the health check's
        assert services["feast"]["environment"]["FEAST_REDIS"].endswith(f",password={self.variable}")
        assert services["server"]["environment"]["RECSYS_REDIS__PASSWORD"] == self.variable


class TestServer:
    """The server's image and environment."""

    def test_it_runs_what_the_local_server_runs(self, compose: dict[str, Any]) -> None:
        dockerfile = compose["services"]["server"]["build"]["dockerfile_inline"]
        command = json.loads(dockerfile.split("CMD ")[1])
        assert command == ["gunicorn", *COMMAND]

    def test_it_finds_the_services_by_their_names(
        self, compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in compose["services"]["server"]["environment"].items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert settings.server.host == "0.0.0.0"
        for service in SERVICES:
            assert getattr(settings, service.group).host == service.name

    def test_its_packages_are_pinned(self, compose: dict[str, Any]) -> None:
        dockerfile = compose["services"]["server"]["build"]["dockerfile_inline"]
        install = re.search(r"--constraint requirements.txt((?:.|\n)*?)\nCOPY", dockerfile)
        assert install
        packages = re.findall(r"[\w-]+", re.sub(r"\[\w+\]", "", install[1]))
        pinned = re.findall(r"^([\w.-]+)(?:\[\w+\])?==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        assert packages
        assert set(packages) <= set(pinned)

    def test_its_python_is_one_the_project_supports(self, tags: dict[str, str]) -> None:
        assert tags["PYTHON_TAG"].startswith("3.11-")


class TestVersions:
    """The software on this machine is the version that the image has."""

    def test_elasticsearchs_jars(self, tags: dict[str, str]) -> None:
        own = {jar.coordinate.split(":")[2] for jar in locked_jars() if jar.coordinate.startswith("org.elasticsearch")}
        assert own == {tags["ELASTICSEARCH_TAG"]}

    def test_feast(self, tags: dict[str, str]) -> None:
        pins = re.findall(r"^feast(?:\[\w+\])?==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
        assert pins == [tags["FEAST_TAG"]]
        assert version("feast") == tags["FEAST_TAG"]

    def test_redis_binary(self, tags: dict[str, str]) -> None:
        said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True).stdout
        assert f"v={tags['REDIS_TAG']} " in said

    def test_triton_wheel_and_image(self, tags: dict[str, str]) -> None:
        # pytriton 0.7.0 carries Triton 2.51, which is the image 24.10; the service test asks the server itself.
        assert "nvidia-pytriton==0.7.0" in triton.REQUIREMENTS.read_text().splitlines()
        assert (triton.VERSION, tags["TRITON_TAG"]) == ("2.51.0", "24.10-py3")

    def test_tritons_numpy_is_older_than_2(self) -> None:
        (pin,) = re.findall(r"^numpy==(\d+)", triton.REQUIREMENTS.read_text(), re.MULTILINE)
        assert int(pin) < 2
