"""A whole online side made of fakes, and the offline truth of the same artifacts: where tests break one thing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.exact import ExactItems
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.release_parts import (
    UserRow,
    read_channels,
    read_users,
    release_of_artifacts,
)
from data_exchange_center.settings import Settings
from offline_to_online.parity import (
    Agreement,
    CheckedRequest,
    OfflineTruth,
    compare,
    offline_answers,
    offline_truth,
    online_answers,
)
from offline_to_online.recount import recount
from offline_to_online.rows import feature_frames, item_rows, request_time
from online.clients.base import Client
from online.clients.feast import FeatureQuery, FeatureRows, feature_rows
from online.clients.redis import UserAnswer, UserQuery
from online.clients.triton import ScoreQuery

USERS = list(range(1, 11))


class _Fake(Client[Any, Any]):
    service = "fake"

    def _ping(self) -> str:
        return "1"

    def close(self) -> None:
        pass


class FakeUsers(_Fake):
    value: Callable[[str], bytes]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.rows = {row.own_id: row for row in read_users(folder)}

    def _call(self, query: UserQuery) -> UserAnswer:
        return UserAnswer(published=True, user=self.rows.get(query.userid))


class FakeItems(_Fake):
    """The server's own exact search, in place of Elasticsearch's."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__()
        self.rows = item_rows(folder)
        self.exact = ExactItems.of(self.rows, manifest.vector_dims)

    def _call(self, query: ItemQuery) -> dict[str, Hits]:
        return self.exact.call(query)


class FakeFeatures(_Fake):
    def __init__(self, frames: dict[Any, pd.DataFrame]) -> None:
        super().__init__()
        self.frames = {entity: frame.astype(object) for entity, frame in frames.items()}

    def _call(self, query: FeatureQuery) -> FeatureRows:
        key = wire.FEAST_KEY[query.entity]
        found = (
            self.frames[query.entity].set_index(key, drop=False).loc[list(query.ids)]
        )
        answer = {
            "metadata": {"feature_names": list(found.columns)},
            "results": [{"values": found[name].tolist()} for name in found.columns],
        }
        return feature_rows(key, list(query.ids), answer)


class FakeRanker(_Fake):
    def __init__(self, truth: OfflineTruth) -> None:
        super().__init__()
        self.truth = truth

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        return self.truth.ranker.scores(query.inputs)


class OnnxRanker(FakeRanker):
    """ONNX Runtime, in Triton's place."""

    def __init__(self, exported: bytes) -> None:
        Client.__init__(self)
        self.session = onnxruntime.InferenceSession(
            exported, providers=["CPUExecutionProvider"]
        )

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.session.run(
            [wire.MODEL_OUTPUT], query.inputs.by_name
        )[0]
        return scores[:, 0]


class OnlineSide:
    """The server's answers, and the truth. Everything may be replaced."""

    def __init__(
        self, folder: Path, recipe: str, userids: Sequence[int] = USERS
    ) -> None:
        self.folder, self.userids = folder, userids
        self.manifest = release_of_artifacts(
            Settings(exchange_dir=folder, recipe_name=recipe)
        )
        self.served = self.manifest  # what the server believes to serve
        self.spec = self.manifest.feature_spec
        self.truth = recount(
            folder,
            offline_truth(folder, self.manifest),
            self.manifest.recipe.data,
            userids,
        )
        self.users = FakeUsers(folder)
        self.items = FakeItems(folder, self.manifest)
        self.channels = read_channels(folder)
        self.users.value = lambda _: pack_channels(self.channels)
        self.features = FakeFeatures(feature_frames(folder, self.spec))
        self.ranker = FakeRanker(self.truth)

    def answers(self) -> list[CheckedRequest]:
        published = Published(manifest=self.served, triton_version=1)
        services = {
            "users": self.users,
            "items": self.items,
            "features": self.features,
            "scorer": self.ranker,
        }
        server: Any = SimpleNamespace(**services, encoder=None)
        times = {
            row.own_id: request_time(row)
            for row in (self.truth.states[user] for user in self.userids)
        }
        return online_answers(server, published, times, self.truth.own_ids)

    def check(self) -> Agreement:
        online = self.answers()
        return compare(offline_answers(self.truth, online), online, self.truth)


def row_of(
    userid: int,
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: Sequence[tuple[int, int, int]] = (),
) -> UserRow:
    """A user made up for a test."""
    return UserRow(
        number=userid,
        own_id=userid,
        terms=tuple(genres),
        seen=np.asarray(seen, np.int32),
        profile=np.asarray([1, 2], np.int32),
        history=History(*np.asarray(rated, np.int64).reshape(-1, 3).T),
        vectors={} if vector is None else {"fm": np.asarray(vector, np.float32)},
    )
