"""The kustomize base and its components: against Kubernetes' own schemas, our policies, and the project's settings.

No cluster is needed. Whether pods start and answer is tested by `make test-kubernetes`.
"""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from data_exchange_center.settings import load_settings
from stack.elasticsearch.node import LIMITS
from stack.service import ROOT, environment_of
from tests.needs import program

FOLDER: Final = ROOT / "past_one_machine/kubernetes"
BASE: Final = FOLDER / "base"
ALL: Final = FOLDER / "overlays/all"
KUBERNETES: Final = "1.32"  # the oldest whose schemas must take it
SECRETS: Final = {  # which entries of Secrets each kind of pod gets, and no other
    "redis": {"redis_password"},
    "redis-cluster": {"redis_password"},
    "feast": {"redis_password"},
    "triton": set(),
    "server": {"redis_password", "api_keys"},
    "steps": {"redis_password"},
    "elasticsearch": set(),
    "prometheus": {"metrics_key"},
    "grafana": set(),
}

Object = dict[str, Any]


@cache
def rendered(folder: Path) -> list[Object]:
    kubectl = program("kubernetes-client", "kubectl")  # which has kustomize in it
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod_of(each: Object) -> Any:
    """The template of the pods that an object makes."""
    spec = each.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template if isinstance(template, dict) else None


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


class Stack:
    """What kustomize makes of a folder."""

    def __init__(self, folder: Path) -> None:
        self.objects = rendered(folder)
        self.makers = [each for each in self.objects if pod_of(each)]
        self.pods = [pod_of(each) for each in self.makers]
        self.lasting = {
            each["metadata"]["name"]: each
            for each in self.of_kind("Deployment", "StatefulSet")
        }

    def of_kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def maker(self, name: str) -> Object:
        (found,) = [each for each in self.makers if each["metadata"]["name"] == name]
        return found

    def selected(self, selector: Object) -> set[str]:
        """The apps whose pods a selector takes."""
        if "app" in selector.get("matchLabels", {}):
            return {selector["matchLabels"]["app"]}
        for each in selector.get("matchExpressions", ()):
            assert (each["key"], each["operator"]) == ("app", "In")
            return set(each["values"])
        return {pod["metadata"]["labels"]["app"] for pod in self.pods}

    def environment(self, name: str) -> Iterator[tuple[str, str]]:
        (container,) = pod_of(self.maker(name))["spec"]["containers"]
        for source in container.get("envFrom", ()):
            (config,) = [
                c
                for c in self.of_kind("ConfigMap")
                if c["metadata"]["name"] == source["configMapRef"]["name"]
            ]
            yield from config["data"].items()
        yield from (
            (each["name"], each["value"])
            for each in container.get("env", ())
            if "value" in each
        )

    def reaches(self, asking: str, requested: str, port: int) -> bool:
        """Whether both ends allow it: what leaves one pod, and what enters the other."""
        leaves = enters = False
        for policy in (each["spec"] for each in self.of_kind("NetworkPolicy")):
            takes = self.selected(policy["podSelector"])
            for rule in policy.get("egress", ()) if asking in takes else ():
                leaves = leaves or any(
                    requested in self.selected(to["podSelector"])
                    for to in rule.get("to", ())
                )
            for rule in policy.get("ingress", ()) if requested in takes else ():
                allowed = {each["port"] for each in rule["ports"]}
                froms = [
                    each["podSelector"]
                    for each in rule["from"]
                    if "podSelector" in each
                ]
                enters = enters or (
                    port in allowed
                    and any(asking in self.selected(each) for each in froms)
                )
        return leaves and enters


@pytest.fixture(params=[BASE, ALL], ids=["base", "all"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(request.param)


@pytest.mark.parametrize("version", [KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_schemas_take_it(stack: Stack, version: str) -> None:
    for each in stack.objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_containers_are_confined(stack: Stack) -> None:
    for pod in stack.pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not any(volume.get("hostPath") for volume in spec.get("volumes", ()))
        for each in containers(pod):
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            for bound in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(each["resources"][bound]), (
                    f"{each['name']} has no {bound}"
                )


@pytest.mark.parametrize("name", ["server", "first-release", "nightly-release"])
def test_settings_are_known_and_lead_to_services(
    stack: Stack, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name not in {each["metadata"]["name"] for each in stack.makers}:
        assert name == "nightly-release"  # of the component renewal
        return
    reported = {
        variable: value
        for variable, value in stack.environment(name)
        if variable.startswith("RECSYS_")
    }
    (tmp_path / "password").write_text("secret")
    for variable, value in (
        reported | {"RECSYS_REDIS__PASSWORD_FILE": str(tmp_path / "password")}
    ).items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    heard = environment_of(settings)
    assert set(reported) - {"RECSYS_REDIS__PASSWORD_FILE"} <= set(heard), (
        "a variable that no setting has"
    )
    urls = (
        settings.elasticsearch.urls + settings.triton.urls + settings.triton.node_urls
    )
    addresses = [*settings.redis.addresses, (settings.feast.host, settings.feast.port)]
    addresses += [tuple(url.removeprefix("http://").split(":")) for url in urls]
    ports = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]}
        for each in stack.of_kind("Service")
    }
    for host, port in addresses:
        pod, _, service = host.rpartition(".")
        assert int(port) in ports[service], f"{host}:{port}"
        if pod:  # of a set, by its own name
            kind, _, number = pod.rpartition("-")
            assert int(number) < stack.lasting[kind]["spec"]["replicas"]
    replicas = {name: each["spec"]["replicas"] for name, each in stack.lasting.items()}
    assert len(settings.elasticsearch.urls) == replicas["elasticsearch"]
    assert len(settings.triton.node_urls) == replicas["triton"]
    assert settings.redis.cluster == (replicas["redis"] > 1)


def test_elasticsearch_limits_what_a_search_may_cost(stack: Stack) -> None:
    environment = dict(stack.environment("elasticsearch"))
    assert {name: environment.get(name) for name in LIMITS} == LIMITS


def test_no_secret_is_here(stack: Stack) -> None:
    assert not stack.of_kind("Secret")
    for pod in stack.pods:
        for container in containers(pod):
            for each in container.get("env", ()):
                if re.search("password|secret|key$", each["name"], re.IGNORECASE):
                    assert "value" not in each


def test_a_pod_mounts_only_its_own_secrets(stack: Stack) -> None:
    for pod in stack.pods:
        secrets = [
            volume["secret"]
            for volume in pod["spec"].get("volumes", ())
            if "secret" in volume
        ]
        app = pod["metadata"]["labels"]["app"]
        assert {item["key"] for each in secrets for item in each["items"]} == SECRETS[
            app
        ], app


def test_only_the_steps_write_the_exchange_volume(stack: Stack) -> None:
    writers = set()
    for pod in stack.pods:
        mounts = [
            mount for each in containers(pod) for mount in each.get("volumeMounts", ())
        ]
        if any(
            mount["name"] == "exchange" and not mount.get("readOnly")
            for mount in mounts
        ):
            writers.add(pod["metadata"]["labels"]["app"])
    assert writers == {"steps"}


def test_every_request_through_the_ingress_needs_a_key(stack: Stack) -> None:
    assert stack.of_kind("Ingress")
    assert dict(stack.environment("server"))["RECSYS_SERVER__KEYS_FOR"] == "all"


def test_network_policies(stack: Stack) -> None:
    services = (
        ("redis", 6379),
        ("elasticsearch", 9200),
        ("feast", 6566),
        ("triton", 8000),
    )
    whole = "grafana" in stack.lasting
    for asking, name, port, expected in (
        *(
            (asking, *service, True)
            for asking in ("server", "steps")
            for service in services
        ),
        ("feast", "redis", 6379, True),
        ("elasticsearch", "elasticsearch", 9300, True),
        ("server", "triton", 8001, False),
        ("server", "redis", 16379, False),
        ("feast", "elasticsearch", 9200, False),
        ("feast", "triton", 8000, False),
        ("triton", "redis", 6379, False),
        ("steps", "elasticsearch", 9300, False),
        ("redis", "redis", 16379, whole),
        ("redis-cluster", "redis", 6379, whole),
        ("prometheus", "server", 5000, whole),
        ("prometheus", "triton", 8002, whole),
        ("prometheus", "redis", 6379, False),
        ("grafana", "prometheus", 9090, whole),
        ("grafana", "server", 5000, False),
    ):
        assert stack.reaches(asking, name, port) == expected, (
            f"{asking} and {name}:{port}"
        )
    (nobody,) = [
        each
        for each in stack.of_kind("NetworkPolicy")
        if each["metadata"]["name"] == "nobody"
    ]
    assert nobody["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
