"""Triton's model repository: one version a release, one configuration with Docker and without.

One configuration describes all versions of a model, so they have inputs of the same widths (numbers of columns).
Releases of other widths, which is another data set's genres or another kind of ranker, stand beside it under a name of
their own.

A version's folder holds model.onnx and nothing else; the file itself says which release it belongs to. A version is
never overwritten, since it may be served. Beside the folders, ``.checked-<version>`` holds the sha256 of the
model.onnx that passed every check.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from data_exchange_center import wire
from data_exchange_center.features import Widths
from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import Settings
from offline_to_online.export.onnx_export import ModelFile, read_model_file
from offline_to_online.stores.triton_server import Place, load_model, wait_until_ready

MODEL_FILE: Final = "model.onnx"

_CONFIG: Final = """\
name: "{model}"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [ {inputs} ]
output [ {output} ]
version_policy: {{ all: {{ }} }}
instance_group [ {{ kind: KIND_CPU count: 2 }} ]
"""


def max_batch_size(widths: Widths) -> int:
    """Rows that Triton may take at once; 0 where a request is one list: its rows share a history and are no batch."""
    return 0 if widths.history else wire.MAX_BATCH


def config_pbtxt(model: str, widths: Widths) -> str:
    """A model's configuration.

    Every version in the folder is served: a release goes when its folder does, never because a newer one came.
    """
    max_batch = max_batch_size(widths)
    rows = () if max_batch else (-1,)  # a batch's first dimension goes without saying
    inputs = [_tensor(wire.MODEL_INPUT, *rows, widths.row)]
    if widths.history:
        inputs.append(_tensor(wire.MODEL_HISTORY, 1, widths.history))
    return _CONFIG.format(
        model=model, max_batch=max_batch, inputs=", ".join(inputs), output=_tensor(wire.MODEL_OUTPUT, *rows, 1)
    )


def _tensor(name: str, *dims: int) -> str:
    return f'{{ name: "{name}" data_type: TYPE_FP32 dims: [ {", ".join(map(str, dims))} ] }}'


def models(settings: Settings) -> list[str]:
    """Names of the models that have a folder, whether anything is in it or not."""
    repository = settings.service_dir("triton")
    found = (*repository.glob(wire.MODEL), *repository.glob(f"{wire.MODEL}_*"))
    return sorted(path.name for path in found if path.is_dir())


def versions(settings: Settings) -> dict[Place, ModelFile]:
    """What lies in the repository, oldest version first. Raises CheckError for a file that is no model."""
    found = [
        Place(model, int(path.name))
        for model in models(settings)
        for path in (settings.service_dir("triton") / model).iterdir()
        if path.name.isdecimal() and (path / MODEL_FILE).is_file()
    ]
    return {place: read_model_file(folder_of(settings, place) / MODEL_FILE) for place in sorted(found)}


def folder_of(settings: Settings, place: Place) -> Path:
    return settings.service_dir("triton") / place.model / str(place.version)


def place_of(settings: Settings, release: str) -> Place | None:
    """Where a release's model stands, its newest one; None when there is none."""
    places = [place for place, model in versions(settings).items() if model.release == release]
    return max(places, key=lambda place: place.version, default=None)


def model_for(settings: Settings, widths: Widths) -> str:
    """Name of the model that a release with inputs of these widths belongs to."""
    taken = {place.model: model.widths for place, model in versions(settings).items()}
    return wire.MODEL if taken.get(wire.MODEL, widths) == widths else f"{wire.MODEL}_{widths}"


def write_version(settings: Settings, release: str, widths: Widths, content: bytes) -> Place:
    """Put a model into the repository, whole or not at all.

    Returns the release's own place when these very bytes are there already, and a new version otherwise.
    """
    known = place_of(settings, release)
    if known and (folder_of(settings, known) / MODEL_FILE).read_bytes() == content:
        _configure(settings, known.model, widths)
        return known
    model = model_for(settings, widths)
    folder = settings.service_dir("triton") / model
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(model, max(_used_numbers(folder), default=0) + 1)
    arriving = folder / f".{release}"  # Triton looks at folders with a number for a name, so not at this one
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    (arriving / MODEL_FILE).write_bytes(content)
    _configure(settings, model, widths)
    unmark(settings, place)
    arriving.rename(folder_of(settings, place))
    return place


def _used_numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _configure(settings: Settings, model: str, widths: Widths) -> None:
    path, text = settings.service_dir("triton") / model / "config.pbtxt", config_pbtxt(model, widths)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # an untouched file keeps its time stamp
        with written_in_place(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def publish(settings: Settings, release: str, widths: Widths, content: bytes) -> Place:
    """Write the release's version and return where it stands once Triton answers with it.

    A version that this call added and that does not come up is taken back. Raises CheckError, or what the client
    raises when Triton does not answer.
    """
    before = set(versions(settings))
    place = write_version(settings, release, widths, content)
    try:
        unmark(settings, place)
        load_model(settings, place.model)
        wait_until_ready(settings.triton, place)
    except BaseException:  # an interrupt as well: it would make every later load fail
        if place not in before:
            shutil.rmtree(folder_of(settings, place))
        raise
    return place


def mark_checked(settings: Settings, place: Place) -> None:
    """Say that what lies here passed every check."""
    with written_in_place(_mark(settings, place)) as temporary:
        temporary.write_text(sha256(folder_of(settings, place) / MODEL_FILE), encoding="utf-8")


def unmark(settings: Settings, place: Place) -> None:
    _mark(settings, place).unlink(missing_ok=True)


def is_checked(settings: Settings, place: Place) -> bool:
    """Whether the model that lies here, and no other, passed every check."""
    mark = _mark(settings, place)
    return mark.is_file() and mark.read_text(encoding="utf-8") == sha256(folder_of(settings, place) / MODEL_FILE)


def _mark(settings: Settings, place: Place) -> Path:
    return settings.service_dir("triton") / place.model / f".checked-{place.version}"
