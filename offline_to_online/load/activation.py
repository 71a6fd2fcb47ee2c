"""The moment a release goes live, and the clearing away of those that no longer can.

The pointer ``ml:live`` in Redis is the one atomic switch: the server asks it with every request. Everything the server
needs of the release is in place before it moves; what people look at (the alias, Feast's plain service names) follows.
The live release and the one before it are kept, so that going back is moving the pointer.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import redis
from elasticsearch import Elasticsearch
from pydantic import ValidationError

from data_exchange_center import wire
from data_exchange_center.release import Manifest, Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.load import es_index, feast_repo, redis_rows, triton_repo, triton_server
from offline_to_online.load.services import elastic_client, reaching, redis_address, redis_client
from offline_to_online.load.triton_server import Place

log = logging.getLogger(__name__)

KEPT: Final = 2  # activated releases that stay in the stores


def require_loaded(settings: Settings, release: str) -> Place:
    """The release is whole in all four stores and was read back from each. Returns where its model stands.

    Raises StepError naming the step that is to be run.
    """
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        if not redis_rows.is_checked(client, release):
            raise _lacking(release, "Redis", "recall/s1_user_to_redis.py")
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        if not es_index.is_checked(elastic, release):
            raise _lacking(release, "Elasticsearch", "recall/s2_item_to_es.py")
    if not feast_repo.is_checked(settings, release):
        raise _lacking(release, "Feast", "rank/s1_feature_to_feast.py")
    place = triton_repo.place_of(settings, release)
    if place is None or not triton_repo.is_checked(settings, place):
        raise _lacking(release, "Triton", "rank/s2_model_to_triton.py")
    with reaching("Feast", settings.feast.url):
        feast_repo.check_alive(settings)
        feast_repo.wait_until_known(settings, release)
    with reaching("Triton", settings.triton.http_url):
        triton_server.wait_until_ready(settings.triton, place)
    return place


def _lacking(release: str, service: str, step: str) -> StepError:
    return StepError(
        f"release {release} is not in {service}, or not wholly, or failed its check: "
        f"run offline_to_online/{step}, then this step again"
    )


def live_release(client: redis.Redis) -> str | None:
    raw = redis_rows.read(client, wire.LIVE_KEY)
    return raw.decode() if raw is not None else None


def history(client: redis.Redis) -> list[str]:
    """Releases that were activated, newest first."""
    entries: Any = client.lrange(wire.HISTORY_KEY, 0, -1)  # typed for the asynchronous client too
    return [raw.decode() for raw in entries]


def published(client: redis.Redis, release: str) -> Published:
    """What was written when the release went live. Raises StepError when it never did or is gone."""
    raw = redis_rows.read(client, wire.manifest_key(release))
    if raw is None:
        raise StepError(f"release {release} was never live, or is no longer kept: see the list of releases")
    try:
        return Published.model_validate_json(raw)
    except ValidationError as error:
        raise StepError(f"the manifest of release {release} in Redis cannot be read: sync it again") from error


def go_live(settings: Settings, manifest: Manifest, place: Place) -> set[str]:
    """Serve a release from now on and clear away what is no longer kept. Returns the releases cleared away.

    A release is cleared away in the order a request asks for it, Redis first: a server that still holds it open finds
    its user unknown and looks at the pointer, before it could miss an item or a feature of theirs.
    """
    release = manifest.release
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        document = Published(manifest=manifest, triton_model=place.model, triton_version=place.version)
        client.set(wire.manifest_key(release), document.model_dump_json())
        _switch(client, release)
        keep = set(history(client)[:KEPT])
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        es_index.point_alias(elastic, release)
    return _prune(settings, keep) | _settle_feast(settings, release, keep)


def go_back(settings: Settings, release: str) -> None:
    """Serve an earlier release again; nothing is cleared away. Raises StepError when it is not whole any more."""
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        document = published(client, release)
        wanted = Place(document.triton_model, document.triton_version)
        if require_loaded(settings, release) != wanted:
            raise StepError(f"the model of release {release} in Triton is no longer {wanted}: sync it again")
        _switch(client, release)
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        es_index.point_alias(elastic, release)
    feast_repo.point_live(settings, release)
    feast_repo.run_feast(settings, ["apply"])


def _switch(client: redis.Redis, release: str) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.set(wire.LIVE_KEY, release)
        pipe.lrem(wire.HISTORY_KEY, 0, release)
        pipe.lpush(wire.HISTORY_KEY, release)
        pipe.execute()
    log.info("release %s is live", release)


def _settle_feast(settings: Settings, release: str, keep: set[str]) -> set[str]:
    there = feast_repo.releases_in(settings)
    gone = there - keep
    served = feast_repo.live_release(settings) or (release if there == {release} else None)  # alone: served unsaid
    feast_repo.point_live(settings, release)
    if not gone and served == release:
        return gone
    for old in gone:
        feast_repo.delete_release(settings, old)
    feast_repo.run_feast(settings, ["apply"])
    return gone


def _prune(settings: Settings, keep: set[str]) -> set[str]:
    """Clear Redis, Elasticsearch and Triton of releases that are not kept, whether they were ever live or not."""
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        gone = redis_rows.releases_in(client) - keep
        for old in gone:
            redis_rows.delete_release(client, old)
        client.ltrim(wire.HISTORY_KEY, 0, KEPT - 1)
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        gone |= _prune_indices(elastic, keep)
    with reaching("Triton", settings.triton.http_url):
        triton_repo.prune(settings, keep)
    return gone


def _prune_indices(elastic: Elasticsearch, keep: set[str]) -> set[str]:
    gone = es_index.releases_in(elastic) - keep
    for old in gone:
        es_index.delete_release(elastic, old)
    return gone
