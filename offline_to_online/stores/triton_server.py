"""Requests to a running Triton: load or unload a model, what it serves, and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import requests
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from data_exchange_center import wire
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import ModelInputs, Widths
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.export.onnx_export import largest_difference
from offline_to_online.stores.connections import TIMEOUT_S
from online.clients.base import ServiceError
from online.clients.triton import ScoreQuery, TritonScores
from online.stack.triton.service import KEY_HEADER

TOLERANCE: Final = 1e-5  # largest difference between Triton's and PyTorch's probability
_READY_S: Final = 60.0


@dataclass(frozen=True, order=True)
class Place:
    """Where a release's model stands in Triton."""

    model: str  # `wire.MODEL`, or that and a width
    version: int

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


def check_alive(settings: TritonSettings) -> None:
    """Fail now rather than after the export."""
    for url in settings.http_urls:
        _get(f"{url}/v2/health/ready", settings.timeout_s).raise_for_status()


def load_model(settings: Settings, model: str) -> None:
    """Have Triton read a model's folder again. Versions that stay keep answering meanwhile. Raises CheckError."""
    _tell(settings, model, "load")


def unload_model(settings: Settings, model: str) -> None:
    """Have Triton unload a model and all its versions. Raises CheckError."""
    _tell(settings, model, "unload")


def _tell(settings: Settings, model: str, what: Literal["load", "unload"]) -> None:
    """By gRPC: by HTTP, whoever has a connection on the same of Triton's few threads waits until it is done."""
    path = settings.repository_key_file
    headers = {f"triton-grpc-protocol-{KEY_HEADER}": path.read_text(encoding="utf-8").strip()} if path.is_file() else {}
    for address in settings.triton.grpc_addresses:
        with _client(address) as client:
            tell = client.load_model if what == "load" else client.unload_model
            try:
                tell(model, headers=headers, client_timeout=TIMEOUT_S * 2)
            except InferenceServerException as error:
                raise CheckError(f"Triton at {address} cannot {what} {model}: {error.message()[:300]}") from error


def _client(address: str) -> InferenceServerClient:
    return InferenceServerClient(address, channel_args=[("grpc.enable_http_proxy", 0)])


def _answers_everywhere(settings: TritonSettings, place: Place) -> bool:
    if _get(f"{_url(settings, place)}/ready").status_code != requests.codes.ok:
        return False
    for address in settings.grpc_addresses if settings.nodes else ():
        with _client(address) as client:
            try:
                if not client.is_model_ready(place.model, str(place.version), client_timeout=TIMEOUT_S):
                    return False
            except InferenceServerException:
                return False
    return True


def wait_until_ready(settings: TritonSettings, place: Place) -> None:
    """Return when the version answers, on every Triton. Raises CheckError after a minute."""
    retrying = Retrying(
        retry=retry_if_not_result(bool),
        stop=stop_after_delay(_READY_S),
        wait=wait_fixed(0.1),
        retry_error_callback=lambda _: False,
    )
    if not retrying(_answers_everywhere, settings, place):
        where = ", ".join((settings.http_url, *settings.nodes.split(","))).rstrip(", ")
        raise CheckError(f"Triton at {where}: {place} is not ready after {_READY_S:g} s")


def check_metadata(settings: TritonSettings, place: Place, widths: Widths, max_batch_size: int) -> None:
    """Names, types and shapes that Triton announces are those of `wire` and the spec. Raises CheckError."""
    metadata: dict[str, Any] = _get(_url(settings, place)).json()
    config: dict[str, Any] = _get(f"{_url(settings, place)}/config").json()
    inputs = {wire.MODEL_INPUT: [-1, widths.row], wire.MODEL_HISTORY: [1, widths.history]}
    if not widths.history:
        del inputs[wire.MODEL_HISTORY]
    wanted = {
        "name": place.model,
        "inputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in inputs.items()],
        "outputs": [{"name": wire.MODEL_OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
    }
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise CheckError(f"Triton announces {key} = {metadata.get(key)}; the feature spec says {value}")
    if str(place.version) not in metadata.get("versions", []):
        raise CheckError(f"Triton announces versions {metadata.get('versions')}; {place.version} is not among them")
    if config.get("max_batch_size") != max_batch_size:
        raise CheckError(f"Triton announces max_batch_size {config.get('max_batch_size')}, not {max_batch_size}")


def check_scores(
    settings: TritonSettings, place: Place, lists: Sequence[ModelInputs], truth: Sequence[Float32]
) -> float:
    """Score lists as the server does, and compare with PyTorch's scores.

    Returns the largest difference. Raises CheckError, or StepError when Triton does not answer.
    """
    client = TritonScores(settings.model_copy(update={"timeout_s": TIMEOUT_S}))
    try:
        scores = [client.call(ScoreQuery(inputs, place.version, place.model)) for inputs in lists]
    except ServiceError as error:
        raise StepError(f"Triton at {settings.http_url} {error.what}: see `make status` and `make logs`") from error
    finally:
        client.close()
    return max(largest_difference("Triton", *pair, TOLERANCE) for pair in zip(scores, truth, strict=True))


def _url(settings: TritonSettings, place: Place) -> str:
    return f"{settings.http_url}/v2/models/{place.model}/versions/{place.version}"


def _get(url: str, timeout_s: float = TIMEOUT_S) -> requests.Response:
    with local_session() as session:
        return session.get(url, timeout=timeout_s)
