"""The real Redis, Elasticsearch, Feast and Triton, for every test in this folder; and a Redis of a module's own."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import pandas as pd
import pytest
import redis
import torch
from flask.testing import FlaskClient
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.settings import Settings
from extras.events.log import EventLog
from offline.models.rankers import ScoringModel
from offline_to_online import onnx_export
from offline_to_online.rows import ItemRow
from offline_to_online.stores import base
from offline_to_online.stores.base import redis_client
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.triton import TritonStore
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from stack.commands import by_name
from stack.redis import REDIS
from tests.free_ports import change, settings_on_free_ports
from tests.own_stack import own_or_running_stack, own_stack, redis_of
from tests.unit.online.world import ALL_KINDS, DefaultWorld, World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those that empty the stores: the worlds are then loaded once for all others."""
    items.sort(key=lambda item: "offline_to_online" not in item.path.parts)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running stack: on free ports, under a temporary exchange folder."""
    with own_or_running_stack(
        lambda: settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    ) as settings:
        yield settings


def _clear(stack: Settings) -> None:
    with redis_client(stack) as client:
        client.delete(wire.LIVE_KEY, wire.PUBLISHED_KEY)
    models = TritonStore(stack)
    models.delete(models.releases())
    # Triton is not ready while it unloads a model.
    Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True)(
        by_name("triton").version, stack
    )


@pytest.fixture(scope="module")
def clean_stack(stack: Settings) -> Iterator[Settings]:
    """The stack with nothing live and no model in Triton, when the module begins and after it."""
    _clear(stack)
    yield stack
    _clear(stack)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a Redis that the module has for itself. The supervisor restarts it when it is killed."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    # the machine may be busy
    patient = change(settings, "redis", timeout_s=30.0)
    with own_stack(patient, [REDIS]) as settings:
        yield settings


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis_client(settings) as client:
        yield client


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with closing(EventLog(settings.redis)) as log:
        yield log


# The real services, loaded with the same small worlds as the fakes.


ONE_WORLD = pytest.mark.parametrize(
    "world", [DefaultWorld], ids=["DefaultWorld"], indirect=True
)
PATIENCE_S = 10.0  # as long as a strict request may take


@contextmanager
def server_of(settings: Settings) -> Iterator[FlaskClient]:
    """A server in this process that has the live release loaded."""
    with closing(Recommender.from_settings(settings)) as recommender:
        app = create_app(recommender, settings)
        recommender.releases.follow()
        yield app.test_client()


class Linear(torch.nn.Module):
    """The world's scores, before the sigmoid, as a network."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(world.weights[:, None]))

    def forward(
        self, rows: torch.Tensor, history: torch.Tensor | None = None
    ) -> torch.Tensor:
        width = rows.shape[-1]
        scores = rows @ self.weights[:width]  # (..., n, 1)
        if history is not None:
            scores = scores + (history.flatten(1) @ self.weights[width:])[:, None]
        return scores


def load_redis(client: redis.Redis, world: World) -> None:
    for userid in world.userids:
        client.hset(
            wire.user_key(world.release, world.own_user(userid)),
            mapping=world.stored(userid).fields(),
        )
    names = {
        str(world.own_user(userid)): len(world.histories[userid])
        for userid in world.userids
    }
    client.zadd(wire.ids_key(world.release), dict.fromkeys(names, 0))
    client.zadd(wire.event_counts_key(world.release), names)
    client.set(wire.popular_key(world.release), json.dumps(world.popular))
    client.set(wire.channels_key(world.release), pack_channels(world.channels))
    client.set(wire.manifest_key(world.release), world.published.model_dump_json())


def load_elasticsearch(settings: Settings, world: World) -> None:
    rows = []
    for itemid in world.itemids:
        vectors = {
            name: known[itemid]
            for name, known in world.item_vectors.items()
            if itemid in known
        }
        shown = {"title": world.titles[itemid], "attributes": world.attributes(itemid)}
        rows.append(
            ItemRow(
                itemid,
                world.genres[itemid],
                vectors,
                own_id=world.own_item(itemid),
                **shown,
            )
        )
    kind = world.recipe.recall.index
    ElasticsearchStore(settings).load(world.release, rows, world.vector_dims, kind)


def load_feast(settings: Settings, world: World) -> None:
    frames = {
        "user": pd.DataFrame(
            [{"userid": key, **row} for key, row in world.user_features.items()]
        ),
        "item": pd.DataFrame(
            [{"itemid": key, **row} for key, row in world.item_features.items()]
        ),
    }
    at = pd.Timestamp("2001-01-01", tz="UTC")
    FeastStore(settings).load(world.release, world.spec, frames, at)


@pytest.fixture(scope="session")
def patient(stack: Settings) -> Settings:
    """The stack, given so much time that a busy machine makes no difference."""
    return base.patient(stack, PATIENCE_S)


@pytest.fixture(scope="session")
def worlds(stack: Settings) -> dict[type[World], World]:
    """One of each kind, side by side in every service."""
    return load_worlds(stack, ALL_KINDS)


def load_worlds(
    stack: Settings, kinds: Iterable[type[World]]
) -> dict[type[World], World]:
    """Load worlds into every service, with their manifests."""
    loaded = {}
    for kind in kinds:
        bare = kind()
        content = onnx_export.export_onnx(
            ScoringModel(Linear(bare)), bare.spec.sizes, bare.release
        )
        place = TritonStore(stack).load(bare.release, content)
        world = loaded[kind] = kind(model=place.model, model_version=place.version)
        load_elasticsearch(stack, world)
        load_feast(stack, world)
        with redis_of(stack) as client:
            load_redis(client, world)
    return loaded


@pytest.fixture(scope="module", params=ALL_KINDS, ids=lambda kind: kind.__name__)
def world(
    stack: Settings, worlds: dict[type[World], World], request: pytest.FixtureRequest
) -> Iterator[World]:
    """The one that is live for a module. What was live before is live again afterwards."""
    world = worlds[request.param]
    with redis_of(stack) as client:
        before, activated = (
            client.get(wire.LIVE_KEY),
            client.lrange(wire.PUBLISHED_KEY, 0, -1),
        )
        client.set(wire.LIVE_KEY, world.release)
        client.lpush(wire.PUBLISHED_KEY, world.release)
        yield world
        client.delete(wire.PUBLISHED_KEY)
        if activated:
            client.rpush(wire.PUBLISHED_KEY, *activated)
        if before is None:
            client.delete(wire.LIVE_KEY)
        else:
            client.set(wire.LIVE_KEY, before)
