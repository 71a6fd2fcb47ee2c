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
from offline_to_online.load import es_index, feast_repo, redis_rows, triton_repo
from offline_to_online.load.services import elastic_client, reaching, redis_address, redis_client

log = logging.getLogger(__name__)

KEPT: Final = 2  # activated releases that stay in the stores


def require_loaded(settings: Settings, release: str) -> int:
    """The release is whole in all four stores. Returns its Triton version.

    Raises StepError naming the step that is to be run.
    """
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        if not client.exists(wire.users_key(release)):
            raise _lacking(release, "Redis", "recall/s1_user_to_redis.py")
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        if not es_index.is_complete(elastic, release):
            raise _lacking(release, "Elasticsearch", "recall/s2_item_to_es.py")
    if release not in feast_repo.releases_in(settings):
        raise _lacking(release, "Feast", "rank/s1_feature_to_feast.py")
    version = triton_repo.version_of(settings, release)
    if version is None:
        raise _lacking(release, "Triton", "rank/s2_model_to_triton.py")
    with reaching("Feast", settings.feast.url):
        feast_repo.check_alive(settings)
        feast_repo.wait_until_known(settings, release)
    with reaching("Triton", settings.triton.http_url):
        triton_repo.wait_until_ready(settings.triton, version)
    return version


def _lacking(release: str, service: str, step: str) -> StepError:
    return StepError(
        f"release {release} is not (wholly) in {service}: run offline_to_online/{step}, then this step again"
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


def go_live(settings: Settings, manifest: Manifest, triton_version: int) -> set[str]:
    """Serve a release from now on and clear away what is no longer kept. Returns the releases cleared away."""
    release = manifest.release
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        client.set(
            wire.manifest_key(release), Published(manifest=manifest, triton_version=triton_version).model_dump_json()
        )
        _switch(client, release)
        keep = set(history(client)[:KEPT])
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        es_index.point_alias(elastic, release)
    return _settle_feast(settings, release, keep) | _prune(settings, keep)


def go_back(settings: Settings, release: str) -> None:
    """Serve an earlier release again; nothing is cleared away. Raises StepError when it is not whole any more."""
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        version = published(client, release).triton_version
        if require_loaded(settings, release) != version:
            raise StepError(f"the model of release {release} is no longer Triton's version {version}: sync it again")
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
    gone = feast_repo.releases_in(settings) - keep
    if not gone and feast_repo.live_release(settings) == release:
        return gone
    feast_repo.point_live(settings, release)
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
        if triton_repo.delete_versions(settings, keep):
            triton_repo.load_model(settings.triton)
    return gone


def _prune_indices(elastic: Elasticsearch, keep: set[str]) -> set[str]:
    gone = es_index.releases_in(elastic) - keep
    for old in gone:
        es_index.delete_release(elastic, old)
    return gone
