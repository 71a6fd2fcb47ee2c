"""Feast's feature server: raw feature values of users and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

import orjson

from data_exchange_center import wire
from data_exchange_center.columns import Entity
from data_exchange_center.settings import FeastSettings
from online.clients.base import ServiceError
from online.clients.http import Http, HttpClient

_JSON = "Content-Type: application/json"


@dataclass(frozen=True, slots=True)
class FeatureQuery:
    """Features of some users or items as a release stored them; ``release=None``: of the live release."""

    entity: Entity
    release: str | None
    ids: Sequence[int]  # numbers of users or items


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Raw values, the entity's own id among the columns, of the ids that have every feature."""

    ids: tuple[int, ...]  # complete rows, in the order of the query
    columns: Mapping[str, list[Any]]  # feature name -> one value for each of `ids`
    missing: Mapping[int, tuple[str, ...]]  # id -> features without a value; such an id is not in `ids`


class FeastFeatures(HttpClient[FeatureQuery, FeatureRows]):
    """`POST /get-online-features` by feature service."""

    service: ClassVar[str] = "feast"
    gone = "has no features of this release"

    def __init__(self, settings: FeastSettings) -> None:
        super().__init__(Http(*settings.urls, timeout_s=settings.timeout_s), settings.timeout_s)

    def _call(self, query: FeatureQuery) -> FeatureRows:
        key, name = wire.FEAST_KEY[query.entity], wire.FEAST_SERVICE[query.entity]
        service = wire.feast_name(name, query.release) if query.release else name
        body = orjson.dumps({"feature_service": service, "entities": {key: list(query.ids)}})
        return feature_rows(key, query.ids, self._read(self.http.post("/get-online-features", body, _JSON)))

    def _ping(self) -> str:
        """Version of the package installed here, if any: the server does not report its own, and both are pinned."""
        if (status := self.http.get("/health").status) != HTTPStatus.OK:
            raise ServiceError(self.service, f"answered its health check with status {status}")
        try:
            return version("feast")
        except PackageNotFoundError:  # the server's own image
            return "unknown"


def feature_rows(key: str, ids: Sequence[int], answer: Mapping[str, Any]) -> FeatureRows:
    """Parse Feast's column-wise answer (one value per id) into complete rows and missing features.

    Raises ValueError when its rows are not those of ``ids``.
    """
    names = answer["metadata"]["feature_names"]
    columns: dict[str, list[Any]] = {
        name: result["values"] for name, result in zip(names, answer["results"], strict=True)
    }
    if any(len(values) != len(ids) for values in columns.values()) or columns.get(key) != list(ids):
        raise ValueError(f"rows of {key} are not the requested ones")
    missing: dict[int, tuple[str, ...]] = {}
    for name, values in columns.items():
        if None in values:
            absent = (entity for entity, value in zip(ids, values, strict=True) if value is None)
            missing |= {entity: (*missing.get(entity, ()), name) for entity in absent}
    if missing:
        kept = [row for row, entity in enumerate(ids) if entity not in missing]
        columns = {name: [values[row] for row in kept] for name, values in columns.items()}
    return FeatureRows(tuple(columns[key]), columns, missing)
