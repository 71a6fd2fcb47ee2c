"""Triton's model repository: one model, one version a release, one configuration with Docker and without.

A version's folder holds model.onnx and nothing else; the file itself says which release it belongs to.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import requests
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed
from tritonclient import grpc as triton

from data_exchange_center import wire
from data_exchange_center.artifacts import written_in_place
from data_exchange_center.settings import Settings, TritonSettings
from offline_to_online.load.onnx_export import ModelFile, read_model_file
from offline_to_online.load.services import TIMEOUT_S, CheckError

MODEL_FILE: Final = "model.onnx"
TOLERANCE: Final = 1e-5  # largest difference between Triton's and PyTorch's probability
_READY_S: Final = 60.0

_CONFIG: Final = """\
name: "{model}"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {width} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ 1 ] }} ]
version_policy: {{ all: {{ }} }}
instance_group [ {{ kind: KIND_CPU count: 2 }} ]
"""


def config_pbtxt(width: int) -> str:
    """The model's configuration. ``width``: columns of `FeatureSpec`.

    Every version in the folder is served: a release goes when its folder does, never because a newer one came.
    """
    return _CONFIG.format(
        model=wire.MODEL, max_batch=wire.MAX_BATCH, input=wire.MODEL_INPUT, output=wire.MODEL_OUTPUT, width=width
    )


def model_dir(settings: Settings) -> Path:
    return settings.service_dir("triton") / wire.MODEL


def versions(settings: Settings) -> dict[int, ModelFile]:
    """Version -> what lies in the repository under it."""
    folder = model_dir(settings)
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if path.name.isdecimal() and (path / MODEL_FILE).is_file()]
    return {
        int(path.name): read_model_file(path / MODEL_FILE) for path in sorted(found, key=lambda path: int(path.name))
    }


def version_of(settings: Settings, release: str) -> int | None:
    """The version that scores for a release; None when there is none."""
    return next((version for version, model in versions(settings).items() if model.release == release), None)


def write_version(settings: Settings, release: str, width: int, content: bytes) -> int:
    """Put a model into the repository, whole or not at all. Returns its version: the release's own, or the next one.

    Raises CheckError when another release in the repository has a different number of columns (another data set's
    genres): one configuration describes all versions, so it would take the other release's model away.
    """
    folder = model_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    existing = versions(settings)
    others = sorted(f"{model.release} ({model.width})" for model in existing.values() if model.width != width)
    if others:
        raise CheckError(
            f"release {release} has {width} input columns, but {folder} serves {', '.join(others)}, and one model has "
            f"one width. To change over: `make down`, delete {folder}, `make up`, and sync again"
        )
    version = version_of(settings, release) or max(_used_numbers(folder), default=0) + 1
    target = folder / str(version)
    if version in existing:
        if (target / MODEL_FILE).read_bytes() != content:
            with written_in_place(target / MODEL_FILE) as temporary:
                temporary.write_bytes(content)
        return _configured(folder, width, version)
    arriving = folder / f".{release}"  # Triton looks at folders with a number for a name, so not at this one
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    (arriving / MODEL_FILE).write_bytes(content)
    arriving.rename(target)
    return _configured(folder, width, version)


def _used_numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _configured(folder: Path, width: int, version: int) -> int:
    path, text = folder / "config.pbtxt", config_pbtxt(width)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # an untouched file keeps its time stamp
        with written_in_place(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return version


def publish(settings: Settings, release: str, width: int, content: bytes) -> int:
    """Write the release's version and return it once Triton answers with it. A version that cannot load is taken back.

    Raises CheckError.
    """
    known = version_of(settings, release) is not None
    version = write_version(settings, release, width, content)
    try:
        load_model(settings.triton)
        wait_until_ready(settings.triton, version)
    except CheckError:
        if not known:  # it would make every later load fail as well
            shutil.rmtree(model_dir(settings) / str(version))
        raise
    return version


def check_alive(settings: TritonSettings) -> None:
    """Fail now rather than after the export."""
    requests.get(f"{settings.http_url}/v2/health/ready", timeout=settings.timeout_s).raise_for_status()


def load_model(settings: TritonSettings) -> None:
    """Have Triton look at the repository again. Versions that stay keep answering meanwhile."""
    response = requests.post(
        f"{settings.http_url}/v2/repository/models/{wire.MODEL}/load", json={}, timeout=TIMEOUT_S * 2
    )
    if response.status_code != requests.codes.ok:
        raise CheckError(f"Triton at {settings.http_url} cannot load {wire.MODEL}: {response.text[:300]}")


def wait_until_ready(settings: TritonSettings, version: int) -> None:
    """Return when the version answers. Raises CheckError after a minute."""
    url = f"{settings.http_url}/v2/models/{wire.MODEL}/versions/{version}/ready"
    retrying = Retrying(
        retry=retry_if_not_result(bool),
        stop=stop_after_delay(_READY_S),
        wait=wait_fixed(0.1),
        retry_error_callback=lambda _: False,
    )
    if not retrying(lambda: requests.get(url, timeout=TIMEOUT_S).status_code == requests.codes.ok):
        raise CheckError(
            f"Triton at {settings.http_url}: {wire.MODEL} version {version} is not ready after {_READY_S:g} s"
        )


def check_metadata(settings: TritonSettings, version: int, width: int) -> None:
    """Names, types and shapes that Triton announces are those of `wire` and the spec. Raises CheckError."""
    url = f"{settings.http_url}/v2/models/{wire.MODEL}/versions/{version}"
    metadata: dict[str, Any] = requests.get(url, timeout=TIMEOUT_S).json()
    config: dict[str, Any] = requests.get(f"{url}/config", timeout=TIMEOUT_S).json()
    wanted = {
        "name": wire.MODEL,
        "inputs": [{"name": wire.MODEL_INPUT, "datatype": "FP32", "shape": [-1, width]}],
        "outputs": [{"name": wire.MODEL_OUTPUT, "datatype": "FP32", "shape": [-1, 1]}],
    }
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise CheckError(f"Triton announces {key} = {metadata.get(key)}; the feature spec says {value}")
    if str(version) not in metadata.get("versions", []):
        raise CheckError(f"Triton announces versions {metadata.get('versions')}; {version} is not among them")
    if config.get("max_batch_size") != wire.MAX_BATCH:
        raise CheckError(f"Triton takes {config.get('max_batch_size')} rows a request, not {wire.MAX_BATCH}")


def check_scores(
    settings: TritonSettings, version: int, rows: NDArray[np.float32], truth: NDArray[np.float32]
) -> float:
    """Score (n, width) rows over gRPC and compare with PyTorch's (n,). Returns the largest difference."""
    with triton.InferenceServerClient(settings.grpc_address) as client:
        scores = np.concatenate(
            [
                _infer(client, version, rows[start : start + wire.MAX_BATCH])
                for start in range(0, len(rows), wire.MAX_BATCH)
            ]
        )
    difference = np.abs(scores - truth)
    row = int(difference.argmax())
    if not difference.max() <= TOLERANCE:
        raise CheckError(f"row {row}: Triton scores {scores[row]!r}, PyTorch {truth[row]!r}; {TOLERANCE} is allowed")
    return float(difference.max())


def _infer(client: Any, version: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    tensor = triton.InferInput(wire.MODEL_INPUT, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(np.ascontiguousarray(rows))
    answer = client.infer(wire.MODEL, [tensor], model_version=str(version), client_timeout=TIMEOUT_S)
    scores: NDArray[np.float32] = answer.as_numpy(wire.MODEL_OUTPUT)
    if scores.shape != (len(rows), 1):
        raise CheckError(f"Triton gave scores of shape {scores.shape} for {len(rows)} rows")
    return scores[:, 0]


def delete_versions(settings: Settings, keep: set[str]) -> list[int]:
    """Remove the versions of releases that are not kept. Returns what was removed; `load_model` makes it known."""
    removed = [version for version, model in versions(settings).items() if model.release not in keep]
    for version in removed:
        shutil.rmtree(model_dir(settings) / str(version))
    return removed
