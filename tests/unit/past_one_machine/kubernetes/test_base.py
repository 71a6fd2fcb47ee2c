"""The kustomize base: against Kubernetes' own schemas, our policies, and the settings, ports and images of the project.

No cluster is needed, and none has run it: what a schema cannot say, such as whether a pod starts, is not tested here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from data_exchange_center import VERSION
from data_exchange_center.settings import load_settings
from past_one_machine.clusters import NODE_TIMEOUT_MS
from stack.feast.service import FLAGS as FEAST_FLAGS
from stack.redis.service import FLAGS as REDIS_FLAGS
from stack.service import ROOT
from stack.triton.service import FLAGS as TRITON_FLAGS
from tests.needs import program

BASE: Final = ROOT / "past_one_machine/kubernetes/base"
KUBERNETES: Final = "1.32"  # the oldest whose schemas must take it
KUSTOMIZATION: Final = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
OWN_IMAGES: Final = {"recsys-server", "recsys-steps"}

Object = dict[str, Any]


OBJECTS: Final[list[Object]] = [
    each
    for name in KUSTOMIZATION["resources"]
    for each in yaml.safe_load_all((BASE / name).read_text(encoding="utf-8"))
]
BY_NAME: Final = [pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}") for each in OBJECTS]


def of_kind(*kinds: str) -> list[Object]:
    return [each for each in OBJECTS if each["kind"] in kinds]


def pod_of(each: Object) -> Any:
    """The template of the pods that an object makes."""
    spec = each.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template if isinstance(template, dict) else None


MAKERS: Final = [each for each in OBJECTS if pod_of(each)]
PODS: Final = [pytest.param(pod_of(each), id=f"{each['kind']}-{each['metadata']['name']}") for each in MAKERS]
LASTING: Final = {each["metadata"]["name"]: each for each in of_kind("Deployment", "StatefulSet")}


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def selected(selector: Object) -> set[str]:
    """The apps whose pods a selector takes."""
    apps = {each["metadata"]["labels"]["app"] for each in map(pod_of, MAKERS) if each}
    if "app" in selector.get("matchLabels", {}):
        return {selector["matchLabels"]["app"]}
    for each in selector.get("matchExpressions", ()):
        assert (each["key"], each["operator"]) == ("app", "In")
        return set(each["values"])
    return apps


@pytest.mark.parametrize("each", BY_NAME)
@pytest.mark.parametrize("version", [KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_schemas_take_it(each: Object, version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_kustomize_builds_it() -> None:
    kubectl = program("kubernetes-client", "kubectl")  # which has kustomize in it
    built = subprocess.run([kubectl, "kustomize", BASE], capture_output=True, text=True, check=True).stdout
    made = list(yaml.safe_load_all(built))
    assert len(made) == len(OBJECTS)
    assert {each["metadata"].get("namespace", "recsys") for each in made} == {"recsys"}
    images = {each["image"] for maker in made if (pod := pod_of(maker)) for each in containers(pod)}
    assert {f"{name}:{VERSION}" for name in OWN_IMAGES} <= images
    assert all(":" in image and not image.endswith(":latest") for image in images)


@pytest.mark.parametrize("pod", PODS)
def test_containers_are_confined(pod: Object) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    for each in containers(pod):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(each["resources"][bound]), f"{each['name']} has no {bound}"
        assert not any(volume.get("hostPath") for volume in spec.get("volumes", ()))


def test_images_are_those_of_the_containers_here() -> None:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    known = {f"{env[f'{name}_IMAGE']}:{env[f'{name}_TAG']}" for name in ("REDIS", "ELASTICSEARCH", "FEAST", "TRITON")}
    used = {each["image"] for pod in map(pod_of, MAKERS) if pod for each in containers(pod)}
    assert used == known | OWN_IMAGES
    assert {each["name"]: each["newTag"] for each in KUSTOMIZATION["images"]} == dict.fromkeys(OWN_IMAGES, VERSION)


def environment(pod: Object) -> Iterator[tuple[str, str]]:
    (container,) = pod["spec"]["containers"]
    for source in container.get("envFrom", ()):
        (config,) = [c for c in of_kind("ConfigMap") if c["metadata"]["name"] == source["configMapRef"]["name"]]
        yield from config["data"].items()
    yield from ((each["name"], each["value"]) for each in container.get("env", ()) if "value" in each)


@pytest.mark.parametrize("name", ["server", "first-release", "nightly-release"])
def test_settings_are_known_and_lead_to_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (maker,) = [each for each in MAKERS if each["metadata"]["name"] == name]
    reported = {variable: value for variable, value in environment(pod_of(maker)) if variable.startswith("RECSYS_")}
    (tmp_path / "password").write_text("secret")
    for variable, value in (reported | {"RECSYS_REDIS__PASSWORD_FILE": str(tmp_path / "password")}).items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    heard = settings.environment()
    assert set(reported) - {"RECSYS_REDIS__PASSWORD_FILE"} <= set(heard), "a variable that no setting has"
    addresses = [*settings.redis.addresses, (settings.feast.host, settings.feast.port)]
    addresses += [(settings.triton.host, settings.triton.http_port)]
    addresses += [tuple(url.removeprefix("http://").split(":")) for url in settings.elasticsearch.urls]
    addresses += [tuple(url.removeprefix("http://").split(":")) for url in settings.triton.node_urls]
    ports = {each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]} for each in of_kind("Service")}
    for host, port in addresses:
        first, _, service = host.rpartition(".")
        assert int(port) in ports[service], f"{host}:{port}"
        if first:  # a pod of a set, by its own name
            kind, _, number = first.rpartition("-")
            assert int(number) < LASTING[kind]["spec"]["replicas"]
            assert LASTING[kind]["spec"]["serviceName"] == service
    assert len(settings.elasticsearch.urls) == LASTING["elasticsearch"]["spec"]["replicas"]
    assert len(settings.triton.node_urls) == LASTING["triton"]["spec"]["replicas"]
    assert settings.elasticsearch.replicas < LASTING["elasticsearch"]["spec"]["replicas"]


def test_services_run_with_the_flags_that_they_run_with_here() -> None:
    first = {name: pod_of(each)["spec"]["containers"][0] for name, each in LASTING.items()}
    commands = {name: " ".join(container.get("command", ())) for name, container in first.items()}
    for flags, name in ((REDIS_FLAGS, "redis"), (FEAST_FLAGS, "feast"), (TRITON_FLAGS, "triton")):
        assert " ".join(flags) in commands[name].replace("'*'", "*")
    assert f"--cluster-node-timeout {NODE_TIMEOUT_MS}" in commands["redis"]


def test_secrets_are_named_and_none_is_here() -> None:
    assert not of_kind("Secret")
    for pod in filter(None, map(pod_of, MAKERS)):
        named = [v["secret"]["secretName"] for v in pod["spec"].get("volumes", ()) if "secret" in v]
        assert set(named) <= {"recsys"}
        mounted = {mount["name"] for each in containers(pod) for mount in each.get("volumeMounts", ())}
        claims = {c["metadata"]["name"] for m in MAKERS for c in m["spec"].get("volumeClaimTemplates", ())}
        assert mounted <= {volume["name"] for volume in pod["spec"].get("volumes", ())} | claims
        for container in containers(pod):
            for each in container.get("env", ()):
                assert not re.search("password|secret|key$", each["name"], re.IGNORECASE) or "value" not in each


# Which entries of the Secret each kind of pod gets, and no other.
SECRETS: Final = {
    "redis": {"redis_password"}, "redis-cluster": {"redis_password"}, "feast": {"redis_password"},
    "triton": set(), "server": {"redis_password", "api_keys"}, "steps": {"redis_password"},
    "elasticsearch": set(),
}  # fmt: skip


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_mounts_only_its_own_secrets(pod: Object) -> None:
    secrets = [volume["secret"] for volume in pod["spec"].get("volumes", ()) if "secret" in volume]
    assert {item["key"] for each in secrets for item in each["items"]} == SECRETS[pod["metadata"]["labels"]["app"]]


def test_only_the_steps_write_the_exchange_volume() -> None:
    writers = set()
    for pod in filter(None, map(pod_of, MAKERS)):
        mounts = [mount for each in containers(pod) for mount in each.get("volumeMounts", ())]
        if any(mount["name"] == "exchange" and not mount.get("readOnly") for mount in mounts):
            writers.add(pod["metadata"]["labels"]["app"])
    assert writers == {"steps"}


def test_every_request_through_the_ingress_needs_a_key() -> None:
    assert of_kind("Ingress")
    assert dict(environment(pod_of(LASTING["server"])))["RECSYS_SERVER__KEYS_FOR"] == "all"


def test_the_chapter_creates_every_entry_of_the_secret() -> None:
    chapter = (ROOT / "past_one_machine/README.md").read_text(encoding="utf-8")
    created = set(re.findall(r"--from-(?:literal|file)=(\w+)=", chapter))
    assert created == set().union(*SECRETS.values())


def reaches(asking: str, requested: str, port: int) -> bool:
    """Whether both ends allow it: what leaves one pod, and what enters the other."""
    leaves = enters = False
    for policy in (each["spec"] for each in of_kind("NetworkPolicy")):
        takes = selected(policy["podSelector"])
        for rule in policy.get("egress", ()) if asking in takes else ():
            leaves = leaves or any(requested in selected(to["podSelector"]) for to in rule.get("to", ()))
        for rule in policy.get("ingress", ()) if requested in takes else ():
            allowed = {each["port"] for each in rule["ports"]}
            froms = [each["podSelector"] for each in rule["from"] if "podSelector" in each]
            enters = enters or (port in allowed and any(asking in selected(each) for each in froms))
    return leaves and enters


def test_network_policies() -> None:
    services = (("redis", 6379), ("elasticsearch", 9200), ("feast", 6566), ("triton", 8000))
    for asking, name, port, expected in (
        *((asking, *service, True) for asking in ("server", "steps") for service in services),
        ("steps", "triton", 8000, True), ("feast", "redis", 6379, True), ("redis", "redis", 16379, True),
        ("elasticsearch", "elasticsearch", 9300, True), ("redis-cluster", "redis", 6379, True),
        ("server", "triton", 8001, False),
        ("server", "redis", 16379, False), ("feast", "elasticsearch", 9200, False), ("feast", "triton", 8000, False),
        ("triton", "redis", 6379, False), ("steps", "elasticsearch", 9300, False),
    ):  # fmt: skip
        assert reaches(asking, name, port) == expected, f"{asking} and {name}:{port}"
    (nobody,) = [each for each in of_kind("NetworkPolicy") if each["metadata"]["name"] == "nobody"]
    assert nobody["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
