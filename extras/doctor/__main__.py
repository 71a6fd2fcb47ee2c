"""Report done and stale steps, running services, the live release, and the command to run next: ``make doctor``.

Reads:  the artifacts of the live release, or of the recipe that RECSYS_RECIPE names, and what each step says it was
        run on; the four services, and what they hold; the server
Writes: nothing
Run:    python -m extras.doctor
Expect: a line for every step, every service and the server; exit code 0 when all is well, else 1
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import requests
from rich.console import Console
from rich.markup import escape

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import sha256
from data_exchange_center.http import local_session
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.feedback import exported
from offline_to_online.releases import (
    CHECK,
    Stores,
    require_parity,
    settings_of_live,
)
from online.clients.base import Client, ServiceError
from online.recommend.recommend import Recommender

GO_LIVE: Final = "offline_to_online/release/s1_go_live.py"
TIMEOUT_S: Final = 5.0
# What a release is made of; other files of a step, its training rows for example, may be deleted.
_NEEDED: Final = (
    artifacts.DATASET,
    artifacts.RATINGS,
    *artifacts.RELEASE_PARTS,
    *provenance.REPORTS,
)


class Finding(NamedTuple):
    """One line of what is printed."""

    what: str  # a step, a service, the server
    state: str  # done, stale, missing; up, down; live, not live; note
    detail: str = ""
    command: str = ""  # that fixes it; empty: nothing is wrong

    @property
    def well(self) -> bool:
        return not self.command


def offline_steps(settings: Settings) -> Iterator[Finding]:
    """Each offline step, in order: done, missing, or stale because the recipe or an input is another one now.

    What is made from a stale file is stale, too.
    """
    folder = settings.artifacts_dir
    # no artifacts are read: the recipe alone
    now = provenance.made_from(folder, settings.recipe, provenance.GET_DATA)
    stale: set[str] = set()  # files of steps that are not done
    for step in provenance.STEPS:
        files = [file for file in step.outputs(settings.recipe) if file in _NEEDED]
        absent = next(
            (file.path for file in files if not file.at(folder).exists()), None
        )
        state, reason = "missing", f"there is no {absent}"
        if absent is None:
            state, reason = "done", ""
            try:
                if step.reads:
                    report = step.report.read(folder)
                    reason = _stale(folder, now[provenance.RECIPE], report, stale)
            except RecsysError as error:
                reason = error.problem
            if reason:
                state = "stale"
        if reason:
            stale.update(file.path for file in files)
        yield Finding(step.path, state, reason, "make offline" if reason else "")


def _stale(
    folder: Path, recipe: Mapping[str, str], report: Mapping[str, Any], stale: set[str]
) -> str:
    """Why a step's output is stale, judged by its report; empty when it is current."""
    recorded, made_with = report.get(provenance.INPUTS), report.get(provenance.RECIPE)
    if not isinstance(recorded, dict) or not isinstance(made_with, dict):
        return "it does not say what it was run on"
    if made_with != recipe:
        return f"it was run with recipe {made_with.get('name')!r}, the recipe now is {recipe['name']!r}"
    for path, digest in recorded.items():
        if path in stale:
            return f"{path} is to be made again"
        if not (folder / path).exists() or sha256(folder / path) != digest:
            return f"{path} has changed since"
    return ""


def events(settings: Settings) -> Iterator[Finding]:
    """What is wrong with the exported events, if anything."""
    for folder in sorted(
        path for path in settings.service_dir("events").glob("*") if path.is_dir()
    ):
        try:
            exported(folder)
        except ArtifactError as error:
            command = "make events (once that folder is deleted)"
            yield Finding("events", "missing", str(error), command)


def services(clients: Sequence[Client[Any, Any]]) -> Iterator[Finding]:
    """Whether each service answers."""
    for client in clients:
        try:
            yield Finding(client.service, "up", client.ping())
        except ServiceError as error:
            yield Finding(client.service, "down", error.what, "make up")


def sync_steps(settings: Settings, stores: Stores, release: str) -> Iterator[Finding]:
    """Each step that loads or checks the release that the artifacts make; the services are up."""
    for store in stores:
        if store.is_checked(release):
            yield Finding(store.step, "done", f"release {release} is in {store.title}")
            continue
        lacks = f"release {release} is not in {store.title}, or not wholly"
        yield Finding(store.step, "missing", lacks, "make sync")
    try:
        _, parity = require_parity(settings, release)
        agree = f"{parity.pairs:,} pairs agree to {parity.largest_difference:.1e}"
        yield Finding(CHECK, "done", agree)
    except RecsysError as error:
        yield Finding(CHECK, "missing", error.problem, "make sync")


def go_live(release: str, live: str | None, published: Sequence[str]) -> Finding:
    """Whether the release of the artifacts is live. One that is published, but not active, needs no repair.

    It was rolled back, or is not activated yet: which release answers is then the user's decision.
    """
    if live == release:
        return Finding(GO_LIVE, "live", f"release {release}")
    if live and release in published:
        detail = f"release {live} is active; `make sync` would put {release} live; nothing to repair"
        return Finding(GO_LIVE, "note", detail)
    detail = f"release {live} is live" if live else "no release is"
    return Finding(GO_LIVE, "not live", detail, "make sync")


def server(url: str, release: str | None) -> Finding:
    """Whether the server answers, and from ``release`` (None: unknown, as the artifacts are not whole)."""
    try:
        with local_session() as session:
            said = session.get(f"{url}/readyz", timeout=TIMEOUT_S).json()
        serving, status = said["release"], said["status"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return Finding("server", "down", f"nothing answers at {url}", "make serve")
    if status != "ready":
        message = str(said.get("message", "a service is not ready"))
        return Finding("server", str(status), message, "make logs")
    if release is not None and serving != release:
        message = f"it answers from release {serving}, not {release}"
        return Finding("server", "not live", message, "make serve")
    return Finding("server", "up", f"{url} answers from release {serving}")


def examine(
    settings: Settings, clients: Sequence[Client[Any, Any]], stores: Stores
) -> list[Finding]:
    """All findings, in the order in which to fix them."""
    found = list(offline_steps(settings))
    release = None
    if all(finding.well for finding in found):
        try:
            release = release_of_artifacts(settings).release
        except RecsysError as error:
            found.append(Finding("release", "missing", error.problem, "make offline"))
    found += events(settings)
    running = list(services(clients))
    found += running
    if release is not None and all(finding.well for finding in running):
        try:
            found += sync_steps(settings, stores, release)
            live, published = stores.redis.listed()
            found.append(go_live(release, live, published))
            if live and found[-1].well:
                release = live  # what the server is to answer from
        except RecsysError as error:
            found.append(Finding("release", "unknown", error.problem, "make logs"))
    found.append(server(settings.server.url, release))
    return found


def with_recipe(finding: Finding, recipe: str) -> Finding:
    """The finding with a command that names the recipe, where the command is about artifacts."""
    if finding.command not in ("make offline", "make sync"):
        return finding
    return finding._replace(command=f"RECSYS_RECIPE={recipe} {finding.command}")


def show(found: Sequence[Finding], console: Console) -> None:
    """Print a line per finding, and the command that fixes the first problem."""
    width = max(len(finding.what) for finding in found if finding.detail)
    for finding in found:
        state = f"[{'green' if finding.well else 'yellow'}]{finding.state:<9}[/]"
        console.print(
            f"{state} {escape(f'{finding.what:<{width}}  {finding.detail}'.rstrip())}",
            soft_wrap=True,
        )
    command = next((finding.command for finding in found if not finding.well), None)
    console.print(f"Run next:  {command}" if command else "All is well.")


def main(settings: Settings) -> None:
    live = settings_of_live(settings)
    with closing(Recommender.from_settings(settings)) as server:
        found = examine(live, server.clients, Stores.of(settings))
    if live.recipe.name != settings.recipe.name:
        found = [with_recipe(finding, live.recipe.name) for finding in found]
    show(found, Console())
    sys.exit(0 if all(finding.well for finding in found) else 1)


if __name__ == "__main__":
    for name in (
        "online",
        "elastic_transport.node_pool",
    ):  # a service that is down has its own line in the report
        logging.getLogger(name).setLevel(logging.ERROR)
    run(main, about=__doc__)
