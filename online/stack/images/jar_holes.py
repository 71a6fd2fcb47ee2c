"""Known holes of the locked jars, as OSV (osv.dev) has them for Maven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests

from online.stack.elasticsearch.jars import LOCK, Jar
from online.stack.images.findings import Findings, Hole

OSV: Final = "https://api.osv.dev/v1/query"
TIMEOUT_S: Final = 15.0
AT_ONCE: Final = 8


def ask(jar: Jar, url: str) -> list[Mapping[str, Any]]:
    """Its holes, in OSV's schema. Raises requests.RequestException."""
    group, artifact, version = jar.coordinate.split(":")
    package = {"ecosystem": "Maven", "name": f"{group}:{artifact}"}
    response = requests.post(url, json={"package": package, "version": version}, timeout=TIMEOUT_S)
    response.raise_for_status()
    holes: list[Mapping[str, Any]] = response.json().get("vulns", [])
    return holes


def read(jar: Jar, said: Iterable[Mapping[str, Any]]) -> list[Hole]:
    """A CVE's number instead of OSV's own, and every version that has it fixed."""
    name, _, version = jar.coordinate.rpartition(":")
    return [
        Hole(
            LOCK.name,
            name,
            version,
            next((alias for alias in hole.get("aliases", ()) if alias.startswith("CVE-")), hole["id"]),
            ", ".join(_fixed(hole, name)),
        )
        for hole in said
    ]


def _fixed(hole: Mapping[str, Any], name: str) -> list[str]:
    ranges = [r for of in hole.get("affected", ()) if of["package"]["name"] == name for r in of.get("ranges", ())]
    return [event["fixed"] for one in ranges for event in one["events"] if "fixed" in event]


def jar_holes(jars: Iterable[Jar], url: str = OSV) -> Findings:
    """Raises nothing: a service that does not answer is among the findings."""
    locked = list(jars)
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            said = list(pool.map(lambda jar: ask(jar, url), locked))
    except requests.ConnectionError:
        return Findings(unreached=("OSV (osv.dev) could not be asked about the jars: no connection.",))
    except requests.RequestException as error:
        return Findings(unreached=(f"OSV (osv.dev) could not be asked about the jars: {error}.",))
    return Findings(tuple(hole for jar, holes in zip(locked, said, strict=True) for hole in read(jar, holes)))
