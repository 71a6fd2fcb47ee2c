"""The real services, loaded with the same small world as the fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd
import pytest
import redis
import torch
from elasticsearch import Elasticsearch

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from offline_to_online.load import es_index, feast_repo, feast_rows, onnx_export, triton_repo
from tests.unit.online.world import DIM, World


class Linear(torch.nn.Module):
    """The world's scores as a model that Triton can serve."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(world.weights[:, None]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(rows @ self.weights)  # (batch, 1)


def load_redis(client: redis.Redis, world: World) -> None:
    for userid in world.userids:
        vector = world.user_vectors.get(userid)
        client.hset(
            wire.user_key(world.release, userid),
            mapping={
                wire.USER_TERM: wire.pack_ids(world.user_terms[userid]),
                wire.USER_VECTOR: b"" if vector is None else wire.pack_vector(vector),
                wire.USER_FILTER: wire.pack_ids(world.seen[userid]),
            },
        )
    client.set(wire.popular_key(world.release), json.dumps(world.popular))
    client.set(wire.manifest_key(world.release), world.published.model_dump_json())
    client.set(wire.LIVE_KEY, world.release)


def load_elasticsearch(settings: Settings, world: World) -> None:
    rows = [
        es_index.ItemRow(itemid, world.titles[itemid], world.genres[itemid], world.item_vectors.get(itemid))
        for itemid in world.itemids
    ]
    with Elasticsearch(settings.elasticsearch.url) as client:
        es_index.write_items(client, world.release, rows, DIM)


def load_feast(settings: Settings, world: World) -> None:
    frames = {
        "user": pd.DataFrame([{"userid": key, **row} for key, row in world.user_features.items()]),
        "item": pd.DataFrame([{"itemid": key, **row} for key, row in world.item_features.items()]),
    }
    at = pd.Timestamp("2001-01-01", tz="UTC")
    feast_rows.write_features(settings, world.release, world.spec, frames, at)
    feast_repo.materialize(settings, world.release)
    feast_repo.wait_until_known(settings, world.release)


@pytest.fixture(scope="package")
def world(stack: Settings) -> Iterator[World]:
    """Loaded into every service, and live. What was live before is live again afterwards."""
    world = World()
    content = onnx_export.export_onnx(Linear(world), world.spec.width, world.release)
    place = triton_repo.publish(stack, world.release, world.spec.width, content)
    world = World(model=place.model, model_version=place.version)
    load_elasticsearch(stack, world)
    load_feast(stack, world)
    with redis.Redis(port=stack.redis.port) as client:
        before = client.get(wire.LIVE_KEY)
        load_redis(client, world)
        yield world
        if before is None:
            client.delete(wire.LIVE_KEY)
        else:
            client.set(wire.LIVE_KEY, before)
