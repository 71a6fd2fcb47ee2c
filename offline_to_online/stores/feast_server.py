"""Requests to a running feature server: is it alive, does it know a release, are the values right."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import requests
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.feature_kinds import Entity
from data_exchange_center.http import local_session
from data_exchange_center.own_ids import OwnId, OwnIds
from data_exchange_center.progress import progress
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.stores.connections import TIMEOUT_S
from offline_to_online.stores.feast_repo import ENTITIES

CHUNK: Final = 500  # entities a request
_READY_S: Final = 60.0  # the feature server looks at the registry again every few seconds


def ask(settings: Settings, service: str, key: str, ids: Sequence[int], url: str = "") -> requests.Response:
    """A feature server's answer for one feature service, as the README's curl asks it; ``url``: not the first's."""
    with local_session() as session:
        return session.post(
            f"{url or settings.feast.url}/get-online-features",
            json={"feature_service": service, "entities": {key: list(ids)}},
            timeout=TIMEOUT_S,
        )


def check_alive(settings: Settings) -> None:
    with local_session() as session:
        for url in settings.feast.urls:
            session.get(f"{url}/health", timeout=settings.feast.timeout_s).raise_for_status()


def wait_until_known(settings: Settings, release: str | None) -> None:
    """Return when each feature server answers for a release's services (None: the live ones). Raises CheckError."""
    for url, entity in itertools.product(settings.feast.urls, ENTITIES):
        service = wire.feast_name(wire.FEAST_SERVICE[entity], release) if release else wire.FEAST_SERVICE[entity]
        retrying = Retrying(
            retry=retry_if_not_result(bool),
            stop=stop_after_delay(_READY_S),
            wait=wait_fixed(0.25),
            retry_error_callback=lambda _: False,
        )
        if not retrying(lambda *asked: ask(settings, *asked).ok, service, wire.FEAST_KEY[entity], [1], url):
            raise CheckError(f"Feast at {url} does not know service {service!r} after {_READY_S:g} s")


def check_features(
    settings: Settings, release: str, frames: Mapping[Entity, pd.DataFrame], own_ids: Mapping[Entity, OwnIds]
) -> None:
    """Read every entity back over HTTP and compare each value. Raises CheckError naming entity, feature and values."""
    for entity, frame in frames.items():
        service, key = wire.feast_name(wire.FEAST_SERVICE[entity], release), wire.FEAST_KEY[entity]
        for start in progress(range(0, len(frame), CHUNK), desc=f"{entity}s from Feast", unit="batch", leave=False):
            chunk = frame.iloc[start : start + CHUNK]
            response = ask(settings, service, key, [int(value) for value in chunk[key]])
            response.raise_for_status()
            compare(entity, chunk, response.json(), own_ids[entity])


def compare(entity: Entity, source: pd.DataFrame, answer: dict[str, Any], own_ids: Mapping[int, OwnId]) -> None:
    """A feature server's answer against its source rows, which are numbered. Raises CheckError."""
    names = answer["metadata"]["feature_names"]
    stored = {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}
    absent = sorted(set(source.columns) - set(stored))
    if absent:
        raise CheckError(f"Feast gave no column {absent[0]!r} for {entity}s")
    for name in source.columns:
        wanted = source[name].tolist()
        if stored[name] == wanted:
            continue
        row = next(row for row, (got, want) in enumerate(zip(stored[name], wanted, strict=True)) if got != want)
        got = stored[name][row]
        raise CheckError(
            f"{entity} {own_ids[int(source[wire.FEAST_KEY[entity]].iloc[row])]!r}, feature {name!r}: "
            f"Feast gave {'no value (null)' if got is None else repr(got)}, the source says {wanted[row]!r}"
        )
