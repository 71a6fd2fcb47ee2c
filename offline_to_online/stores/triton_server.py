"""Requests to a running Triton: load or unload a model, what it serves, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import requests
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.http import local_session
from data_exchange_center.settings import TritonSettings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.stores.connections import TIMEOUT_S
from online.clients.base import ServiceError
from online.clients.triton import ScoreQuery, TritonScores

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
    _get(f"{settings.http_url}/v2/health/ready", settings.timeout_s).raise_for_status()


def load_model(settings: TritonSettings, model: str) -> None:
    """Have Triton read a model's folder again. Versions that stay keep answering meanwhile. Raises CheckError."""
    _tell(settings, model, "load")


def unload_model(settings: TritonSettings, model: str) -> None:
    """Have Triton unload a model and all its versions. Raises CheckError."""
    _tell(settings, model, "unload")


def _tell(settings: TritonSettings, model: str, what: str) -> None:
    url = f"{settings.http_url}/v2/repository/models/{model}/{what}"
    with local_session() as session:
        response = session.post(url, json={}, timeout=TIMEOUT_S * 2)
    if response.status_code != requests.codes.ok:
        raise CheckError(f"Triton at {settings.http_url} cannot {what} {model}: {response.text[:300]}")


def wait_until_ready(settings: TritonSettings, place: Place) -> None:
    """Return when the version answers. Raises CheckError after a minute."""
    url = f"{_url(settings, place)}/ready"
    retrying = Retrying(
        retry=retry_if_not_result(bool),
        stop=stop_after_delay(_READY_S),
        wait=wait_fixed(0.1),
        retry_error_callback=lambda _: False,
    )
    if not retrying(lambda: _get(url).status_code == requests.codes.ok):
        raise CheckError(f"Triton at {settings.http_url}: {place} is not ready after {_READY_S:g} s")


def check_metadata(settings: TritonSettings, place: Place, width: int) -> None:
    """Names, types and shapes that Triton announces are those of `wire` and the spec. Raises CheckError."""
    metadata: dict[str, Any] = _get(_url(settings, place)).json()
    config: dict[str, Any] = _get(f"{_url(settings, place)}/config").json()
    wanted = {
        "name": place.model,
        "inputs": [{"name": wire.MODEL_INPUT, "datatype": "FP32", "shape": [-1, width]}],
        "outputs": [{"name": wire.MODEL_OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
    }
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise CheckError(f"Triton announces {key} = {metadata.get(key)}; the feature spec says {value}")
    if str(place.version) not in metadata.get("versions", []):
        raise CheckError(f"Triton announces versions {metadata.get('versions')}; {place.version} is not among them")
    if config.get("max_batch_size") != wire.MAX_BATCH:
        raise CheckError(f"Triton takes {config.get('max_batch_size')} rows a request, not {wire.MAX_BATCH}")


def check_scores(
    settings: TritonSettings, place: Place, rows: NDArray[np.float32], truth: NDArray[np.float32]
) -> float:
    """Score (n, width) rows over gRPC, as the server does, and compare with PyTorch's (n,).

    Returns the largest difference. Raises CheckError, or StepError when Triton does not answer.
    """
    client = TritonScores(settings.model_copy(update={"timeout_s": TIMEOUT_S}))
    try:
        scores = client.call(ScoreQuery(rows, place.version, place.model))
    except ServiceError as error:
        raise StepError(f"Triton at {settings.grpc_address} {error.what}: see `make status` and `make logs`") from error
    finally:
        client.close()
    difference = np.abs(scores - truth)
    row = int(difference.argmax())
    if not difference.max() <= TOLERANCE:
        raise CheckError(f"row {row}: Triton scores {scores[row]!r}, PyTorch {truth[row]!r}; {TOLERANCE} is allowed")
    return float(difference.max())


def _url(settings: TritonSettings, place: Place) -> str:
    return f"{settings.http_url}/v2/models/{place.model}/versions/{place.version}"


def _get(url: str, timeout_s: float = TIMEOUT_S) -> requests.Response:
    with local_session() as session:
        return session.get(url, timeout=timeout_s)
