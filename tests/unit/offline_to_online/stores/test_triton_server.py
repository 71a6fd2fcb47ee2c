"""How Triton is told what to load: a server of a few lines speaks its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError
from offline_to_online.stores.triton import TritonStore


class Repository(GRPCInferenceServiceServicer):
    """Keeps what it was told; knows one model."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.keys: list[str | None] = []  # sent with each load

    def RepositoryModelLoad(  # noqa: N802
        self, request: protocol.RepositoryModelLoadRequest, context: grpc.ServicerContext
    ) -> protocol.RepositoryModelLoadResponse:
        self.keys.append(dict(context.invocation_metadata()).get("triton-grpc-protocol-recsys-repository-key"))
        if request.model_name != "ml_rec":
            context.abort(grpc.StatusCode.INTERNAL, f"failed to load '{request.model_name}'")
        self.told.append(("load", request.model_name))
        return protocol.RepositoryModelLoadResponse()

    def RepositoryModelUnload(  # noqa: N802
        self, request: protocol.RepositoryModelUnloadRequest, context: grpc.ServicerContext
    ) -> protocol.RepositoryModelUnloadResponse:
        self.told.append(("unload", request.model_name))
        return protocol.RepositoryModelUnloadResponse()


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def settings(repository: Repository, tmp_path: Path) -> Iterator[Settings]:
    """Nothing answers by HTTP, where a model that is loaded would hold up who has a connection on the same thread."""
    server = grpc.server(ThreadPoolExecutor(1))
    add_GRPCInferenceServiceServicer_to_server(repository, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Settings(exchange_dir=tmp_path, triton=TritonSettings(grpc_port=port, http_port=1))
    server.stop(0).wait()


def test_the_secret_is_sent_where_there_is_one(settings: Settings, repository: Repository) -> None:
    TritonStore(settings).load_model("ml_rec")
    settings.repository_key_file.parent.mkdir(parents=True)
    settings.repository_key_file.write_text("hush\n")
    TritonStore(settings).load_model("ml_rec")
    assert repository.keys == [None, "hush"]


def test_models_are_loaded_and_unloaded_by_grpc(settings: Settings, repository: Repository) -> None:
    TritonStore(settings).load_model("ml_rec")
    TritonStore(settings).unload_model("ml_rec")
    assert repository.told == [("load", "ml_rec"), ("unload", "ml_rec")]


def test_what_cannot_be_loaded_is_told_with_the_reason(settings: Settings) -> None:
    with pytest.raises(CheckError, match=r"cannot load ml_rec_62: failed to load 'ml_rec_62'"):
        TritonStore(settings).load_model("ml_rec_62")
