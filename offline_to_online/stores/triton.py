"""The ranking model in Triton: one version per release, in one model repository with Docker and without.

One configuration describes all versions of a model, so they have inputs of the same sizes. A release with other sizes
(another data set's genres, another kind of ranker) gets a model name of its own. A
version's folder holds model.onnx and nothing else; the file itself says which release it belongs to. A
version is never overwritten, since it may be served. What it scores is compared with PyTorch by the check of offline
against online. The encoder of a recall channel is a model of its own, whose name has the release: `wire.encoder_model`.

Triton looks at the repository every second, and loads and unloads what has changed in it; it takes no requests to do
so. Any other file in a model's folder would be a change of all its versions. So a second folder, `TritonStore.aside`,
holds what is not to be seen yet or any more, and the marks: ``<model>-<version>.checked`` holds the sha256 of the
model.onnx that Triton loaded.
"""

import shutil
from collections.abc import Collection, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

import onnx
import orjson
from google.protobuf.message import DecodeError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed
from tritonclient.utils import np_to_triton_dtype

from data_exchange_center import features, files, wire
from data_exchange_center.settings import TRITON_SOCKET, Settings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.stores.base import READY_S, TIMEOUT_S, ReleaseStore, patient
from online.clients.http import Http
from online.clients.triton import TritonScores

MODEL_FILE: Final = "model.onnx"
RELEASE: Final = "release"  # key of the model's metadata
_TENSOR: Final = '{{ name: "{}" data_type: TYPE_{} dims: [ {} ] }}'
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


class Place(NamedTuple):
    """Name and version of a release's model in Triton."""

    model: str  # `wire.MODEL`, or that and its sizes
    version: int

    def __str__(self) -> str:
        return f"{self.model} version {self.version}"


class ModelFile(NamedTuple):
    """Release and sizes of the inputs that an exported model's file declares."""

    release: str | None  # None: it names none
    sizes: features.InputSizes

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Read a model.onnx. Raises CheckError when it is not an exported ranking model."""
        try:
            proto = onnx.load(path, load_external_data=False)
            found = {
                given.name: int(given.type.tensor_type.shape.dim[1].dim_value)
                for given in proto.graph.input
            }
            sizes = features.InputSizes(
                found[wire.MODEL_INPUT], found.get(wire.MODEL_HISTORY, 0)
            )
        except (DecodeError, LookupError) as error:
            raise CheckError(
                f"{path} is not an exported ranking model: delete its folder and run this step again"
            ) from error
        return cls(
            {prop.key: prop.value for prop in proto.metadata_props}.get(RELEASE), sizes
        )


class TritonStore(ReleaseStore):
    """One version of the ranking model per release.

    Attributes:
        repository: the model repository, which Triton reads.
        aside: folder on the same file system, which Triton does not read: see the module.
    """

    title: ClassVar[str] = "Triton"
    step: ClassVar[str] = "offline_to_online/rank/s2_model_to_triton.py"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.repository, self.aside = (
            settings.service_dir("triton"),
            settings.service_dir("triton-aside"),
        )

    @property
    def address(self) -> str:
        folder, url = self.settings.triton.socket_dir, self.settings.triton.url
        if folder and folder.is_relative_to(self.settings.exchange_dir):
            return f"{folder.relative_to(self.settings.exchange_dir)}/{TRITON_SOCKET}"
        return url

    def load(
        self,
        release: str,
        sizes: features.InputSizes,
        onnx: bytes,
        encoders: Mapping[str, bytes] | None = None,
    ) -> Place:
        """Write the release's version and, once Triton serves it, mark it as checked. Returns its place.

        ``encoders``: recall channel -> its encoder's model.onnx; Triton serves them, too, by then.

        Triton itself compares names, types and shapes with the configuration. A version that this call added is removed
        again if it does not come up. Raises CheckError with Triton's reason, or when Triton does not load it in time.
        """
        before = self.versions()
        if (known := self.find(release)) is not None:
            self._mark_of(known).unlink(missing_ok=True)
        place = self.write_version(release, sizes, onnx)
        added = [
            folder
            for name, model in (encoders or {}).items()
            if (folder := self._add(release, name, model))
        ]
        try:
            for each in (*self.encoders([release]), place):
                self.wait_until_ready(each)
        except BaseException:  # an interrupt, too
            for folder in (
                *added,
                *([] if place in before else [self.folder_of(place)]),
            ):
                self._remove(folder)
            raise
        with files.written_in_place(self._mark_of(place)) as temporary:
            temporary.write_text(self._digest(release, place), encoding="utf-8")
        return place

    def _digest(self, release: str, place: Place) -> str:
        """The sha256 of each of a release's models, the ranking model's first."""
        return "\n".join(
            files.sha256(self.folder_of(each) / MODEL_FILE)
            for each in (place, *self.encoders([release]))
        )

    def encoders(self, releases: Collection[str]) -> list[Place]:
        """Places of the encoders of some releases."""
        found = sorted(
            path.name for path in self.repository.glob(wire.encoder_model("*", "*"))
        )
        return [Place(name, 1) for name in found if name.rpartition("-")[2] in releases]

    def _add(self, release: str, channel: str, model: bytes) -> Path | None:
        """Put an encoder into the repository. Returns its folder; None where it is there: a release never changes."""
        name = wire.encoder_model(channel, release)
        folder, arriving = self.repository / name, self.aside / f"arriving-{name}"
        if folder.is_dir():
            return None
        shutil.rmtree(arriving, ignore_errors=True)
        (arriving / "1").mkdir(parents=True)
        (arriving / "1" / MODEL_FILE).write_bytes(model)
        (arriving / "config.pbtxt").write_text(
            encoder_config(name, model), encoding="utf-8"
        )
        return arriving.rename(folder)

    def _mark_of(self, place: Place) -> Path:
        return self.aside / f"{place.model}-{place.version}.checked"

    def write_version(
        self, release: str, sizes: features.InputSizes, onnx: bytes
    ) -> Place:
        """Put a model into the repository, whole or not at all.

        Returns the place of the release's version if its bytes are the same already, else of a new version.
        """
        known = self.find(release)
        if known and (self.folder_of(known) / MODEL_FILE).read_bytes() == onnx:
            self._configure(self.repository / known.model, known.model, sizes)
            return known
        taken = {place.model: model.sizes for place, model in self.versions().items()}
        model = (
            wire.MODEL
            if taken.get(wire.MODEL, sizes) == sizes
            else f"{wire.MODEL}_{sizes}"
        )
        # a number that this model has never had, since what Triton says of a version may be a second old
        folder, last = self.repository / model, self.aside / f"{model}.last"
        used = [
            int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()
        ]
        if last.is_file():
            used.append(int(last.read_text(encoding="utf-8")))
        place = Place(model, max(used, default=0) + 1)
        with files.written_in_place(last) as temporary:
            temporary.write_text(str(place.version), encoding="utf-8")
        arriving = self.aside / f"arriving-{release}"
        shutil.rmtree(arriving, ignore_errors=True)
        version = arriving / str(place.version)
        version.mkdir(parents=True)
        (version / MODEL_FILE).write_bytes(onnx)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            self._configure(folder, model, sizes)
            version.rename(self.folder_of(place))
            arriving.rmdir()
        else:
            self._configure(arriving, model, sizes)
            arriving.rename(folder)
        return place

    def _configure(self, folder: Path, model: str, sizes: features.InputSizes) -> None:
        path, text = folder / "config.pbtxt", config_pbtxt(model, sizes)
        if (
            not path.is_file() or path.read_text(encoding="utf-8") != text
        ):  # an untouched file keeps its time stamp
            with files.written_in_place(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _remove(self, folder: Path) -> None:
        """Remove a folder of the repository at once, rather than file by file."""
        removed = self.aside / "removed"
        self.aside.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        shutil.rmtree(removed)

    def wait_until_ready(self, place: Place) -> None:
        """Return when every Triton serves the version. Raises CheckError with Triton's reason, or after a minute."""
        urls = self.settings.triton.node_urls
        ready = Retrying(
            retry=retry_if_result(lambda states: not all(states)),
            stop=stop_after_delay(READY_S),
            wait=wait_fixed(0.1),
            retry_error_callback=lambda _: (),
        )
        if not ready(lambda: [_is_ready(url, place) for url in urls]):
            raise CheckError(
                f"Triton at {', '.join(urls)}: {place} is not ready after {READY_S:g} s"
            )

    def expect_alive(self) -> None:
        """Fail now rather than after the export. Raises StepError where a Triton does not answer."""
        settings = patient(self.settings).triton
        with self.translate_errors():
            for url in settings.node_urls:
                with closing(TritonScores(settings, url)) as client:
                    client.ping()

    def is_checked(self, release: str) -> bool:
        """Whether Triton has loaded exactly these models, by their sha256."""
        place = self.find(release)
        if place is None or not (mark := self._mark_of(place)).is_file():
            return False
        return mark.read_text(encoding="utf-8") == self._digest(release, place)

    def models(self) -> list[str]:
        """Names of the models that have a folder, whether anything is in it or not."""
        found = (
            *self.repository.glob(wire.MODEL),
            *self.repository.glob(f"{wire.MODEL}_*"),
        )
        return sorted(path.name for path in found if path.is_dir())

    def versions(self) -> dict[Place, ModelFile]:
        """The repository's models, oldest version first. Raises CheckError for a file that is no model."""
        found = [
            Place(model, int(path.name))
            for model in self.models()
            for path in (self.repository / model).iterdir()
            if path.name.isdecimal() and (path / MODEL_FILE).is_file()
        ]
        return {
            place: ModelFile.read(self.folder_of(place) / MODEL_FILE)
            for place in sorted(found)
        }

    def folder_of(self, place: Place) -> Path:
        return self.repository / place.model / str(place.version)

    def find(self, release: str) -> Place | None:
        """Place of a release's newest model; None when there is none."""
        places = [
            place
            for place, model in self.versions().items()
            if model.release == release
        ]
        return max(places, key=lambda place: place.version, default=None)

    def releases(self) -> set[str]:
        encoders = (
            path.name.rpartition("-")[2]
            for path in self.repository.glob(wire.encoder_model("*", "*"))
        )
        return {
            model.release for model in self.versions().values() if model.release
        }.union(encoders)

    # Going live needs no change here, as a request names its version. Deletion.

    def wait_until_served(self, release: str) -> None:
        if (
            len(self.settings.triton.node_urls) == 1
        ):  # of several, one may be starting again
            self.expect_alive()
        if (place := self.find(release)) is None:
            raise StepError(
                f"release {release} has no model in Triton: run {self.step}"
            )
        for each in (*self.encoders([release]), place):
            self.wait_until_ready(each)

    def delete(self, releases: Collection[str]) -> None:
        """Remove the versions, and models without any version. Triton unloads them within a second.

        A version that names no release is the leftover of another program, and goes too.
        """
        with self.translate_errors():
            found = self.versions()
            removed = [
                place
                for place, model in found.items()
                if model.release in {*releases, None}
            ]
            for place in removed:
                self._remove(self.folder_of(place))
                self._mark_of(place).unlink(missing_ok=True)
            for encoder in self.encoders(releases):
                self._remove(self.repository / encoder.model)
            used = {place.model for place in found if place not in removed}
            for model in self.models():
                if model not in used:
                    self._remove(self.repository / model)


def config_pbtxt(model: str, sizes: features.InputSizes) -> str:
    """A model's configuration.

    Every version in the folder is served until its folder is deleted, however new the others are. A model with a
    history input takes one list per request, whose rows share the history, so Triton does not batch it.
    """
    max_batch = 0 if sizes.events else wire.MAX_BATCH
    rows = "" if max_batch else "-1, "  # Triton itself adds a batch's first dimension
    inputs = [_TENSOR.format(wire.MODEL_INPUT, "FP32", f"{rows}{sizes.columns}")]
    if sizes.events:
        inputs.append(
            _TENSOR.format(
                wire.MODEL_HISTORY,
                "FP32",
                f"1, {sizes.events}, {len(features.HISTORY)}",
            )
        )
    output = _TENSOR.format(wire.MODEL_OUTPUT, "FP32", f"{rows}1")
    return _CONFIG.format(
        model=model, max_batch=max_batch, inputs=", ".join(inputs), output=output
    )


def encoder_config(name: str, model: bytes) -> str:
    """The configuration of an encoder, by the names, types and shapes in its file."""
    graph = onnx.load_from_string(model).graph
    tensors: list[str] = []
    for each in (*graph.input, *graph.output):
        of = each.type.tensor_type
        datatype = np_to_triton_dtype(
            onnx.helper.tensor_dtype_to_np_dtype(of.elem_type)
        )
        dims = ", ".join(str(dim.dim_value or -1) for dim in of.shape.dim)
        tensors.append(_TENSOR.format(each.name, datatype, dims))
    *inputs, output = tensors
    return _CONFIG.format(
        model=name, max_batch=0, inputs=", ".join(inputs), output=output
    )


def _is_ready(url: str, place: Place) -> bool:
    """Whether the Triton at ``url`` serves a version. Raises CheckError with its reason where it failed to load it."""
    with closing(Http(url, timeout_s=TIMEOUT_S)) as http:
        try:
            answer = http.post("/v2/repository/index", b"{}")
        except OSError:  # it may be starting
            return False
    if answer.status != HTTPStatus.OK:
        return False
    name = {"name": place.model, "version": str(place.version)}
    for each in orjson.loads(answer.body):
        if name.items() <= each.items():
            if each["state"] == "UNAVAILABLE":
                raise CheckError(
                    f"Triton at {url} cannot load {place}: {each.get('reason', 'no reason given')[:300]}"
                )
            return bool(each["state"] == "READY")
    return False
