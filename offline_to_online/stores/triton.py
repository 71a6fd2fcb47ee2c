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
from data_exchange_center.settings import Settings
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
    """Release and sizes of the inputs that an exported ranking model declares."""

    release: str | None  # None: it names none
    sizes: features.InputSizes

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Read a model.onnx. Raises CheckError when it is not an exported ranking model."""
        try:
            return cls.of(path.read_bytes())
        except (DecodeError, LookupError) as error:
            raise CheckError(
                f"{path} is not an exported ranking model: delete its folder and run this step again"
            ) from error

    @classmethod
    def of(cls, model: bytes) -> "ModelFile":
        """Raises DecodeError, LookupError when it is not an exported ranking model."""
        proto = onnx.load_from_string(model)
        found = {
            given.name: int(given.type.tensor_type.shape.dim[1].dim_value)
            for given in proto.graph.input
        }
        (output,) = proto.graph.output
        sizes = features.InputSizes(
            found[wire.MODEL_INPUT],
            found.get(wire.MODEL_HISTORY, 0),
            int(output.type.tensor_type.shape.dim[1].dim_value),
        )
        metadata = {each.key: each.value for each in proto.metadata_props}
        return cls(metadata.get(RELEASE), sizes)


class TritonStore(ReleaseStore):
    """One version of the ranking model per release, and a model for each encoder.

    Attributes:
        repository: the model repository, which Triton reads.
        aside: folder on the same file system, which Triton does not read: see the module.
    """

    title: ClassVar[str] = "Triton"
    step: ClassVar[str] = "offline_to_online/rank/s2_model_to_triton.py"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.repository = settings.service_dir("triton")
        self.aside = settings.service_dir("triton-aside")

    @property
    def address(self) -> str:
        return self.settings.triton.url

    def load(
        self, release: str, model: bytes, encoders: Mapping[str, bytes] = {}
    ) -> Place:
        """Write the release's version and, once Triton serves it, mark it as checked. Returns its place.

        ``encoders``: recall channel -> its encoder's model.onnx; Triton serves them, too, by then.

        Triton itself compares names, types and shapes with the configuration. A version that this call added is removed
        again if it does not come up. Raises CheckError with Triton's reason, or when Triton does not load it in time.
        """
        before = {*self.versions(), *self.encoders(release)}
        if known := self.find(release):
            self._mark_of(known).unlink(missing_ok=True)
        place = self.write_version(release, model)
        for channel, encoder in encoders.items():
            name = wire.encoder_model(channel, release)
            if not (self.repository / name).is_dir():  # a release never changes
                self._write(Place(name, 1), encoder)
        models = [*self.encoders(release), place]
        try:
            for each in models:
                self.wait_until_ready(each)
        except BaseException:  # an interrupt, too
            for each in set(models) - before:
                self.remove(each)
            raise
        files.write_text(self._mark_of(place), self._digest(release, place))
        return place

    def write_version(self, release: str, model: bytes) -> Place:
        """Put a ranking model into the repository, whole or not at all.

        Returns the place of the release's version if its bytes are the same already, else of a new version.
        """
        known = self.find(release)
        if known and self.file_of(known).read_bytes() == model:
            self._configure(self.repository / known.model, model)
            return known
        sizes = ModelFile.of(model).sizes
        taken = {place.model: found.sizes for place, found in self.versions().items()}
        name = wire.MODEL
        if taken.get(name, sizes) != sizes:
            name += f"_{sizes}"
        # a number that this model has never had, since what Triton says of a version may be a second old
        last = self.aside / f"{name}.last"
        used = [int(path.name) for path in self.repository.glob(f"{name}/[0-9]*")]
        if last.is_file():
            used.append(int(last.read_text(encoding="utf-8")))
        place = Place(name, max(used, default=0) + 1)
        files.write_text(last, str(place.version))
        self._write(place, model)
        return place

    def _write(self, place: Place, model: bytes) -> None:
        """Add a version, and its model's folder where it is the first one."""
        arriving = self.aside / f"arriving-{place.model}"
        shutil.rmtree(arriving, ignore_errors=True)
        version = arriving / str(place.version)
        version.mkdir(parents=True)
        (version / MODEL_FILE).write_bytes(model)
        folder = self.repository / place.model
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            self._configure(folder, model)
            version.rename(folder / version.name)
            arriving.rmdir()
        else:
            self._configure(arriving, model, place.model)
            arriving.rename(folder)

    def _configure(self, folder: Path, model: bytes, name: str = "") -> None:
        """Write a model's configuration, unless it is there: an untouched file keeps its time stamp."""
        path = folder / "config.pbtxt"
        text = config_pbtxt(name or folder.name, model)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            files.write_text(path, text)

    def remove(self, place: Place) -> None:
        """Remove a version, with its model where it is the only one, at once rather than file by file."""
        removed = self.aside / "removed"
        self.aside.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(removed, ignore_errors=True)
        folder = self.repository / place.model
        others = [
            version
            for version in folder.glob("[0-9]*")
            if version.name != str(place.version)
        ]
        if others:
            folder /= str(place.version)
        folder.rename(removed)
        shutil.rmtree(removed)

    # What is there

    def encoders(self, release: str) -> list[Place]:
        """Places of a release's encoders."""
        found = self.repository.glob(wire.encoder_model("*", release))
        return [Place(name, 1) for name in sorted(path.name for path in found)]

    def versions(self) -> dict[Place, ModelFile]:
        """The ranking models, oldest version first. Raises CheckError for a file that is no model."""
        found = {}
        for path in self.repository.glob(f"{wire.MODEL}*/[0-9]*/{MODEL_FILE}"):
            version = path.parent
            place = Place(version.parent.name, int(version.name))
            found[place] = ModelFile.read(path)
        return dict(sorted(found.items()))

    def file_of(self, place: Place) -> Path:
        return self.repository / place.model / str(place.version) / MODEL_FILE

    def find(self, release: str) -> Place | None:
        """Place of a release's newest model; None when there is none."""
        places = [
            place
            for place, model in self.versions().items()
            if model.release == release
        ]
        return max(places, key=lambda place: place.version, default=None)

    def releases(self) -> set[str]:
        ranked = {model.release for model in self.versions().values() if model.release}
        encoders = self.repository.glob(wire.encoder_model("*", "*"))
        return ranked | {path.name.rpartition("-")[2] for path in encoders}

    # Whether it is served

    def _mark_of(self, place: Place) -> Path:
        return self.aside / f"{place.model}-{place.version}.checked"

    def _digest(self, release: str, place: Place) -> str:
        """The sha256 of each of a release's models, the ranking model's first."""
        models = (place, *self.encoders(release))
        return "\n".join(files.sha256(self.file_of(each)) for each in models)

    def is_checked(self, release: str) -> bool:
        """Whether Triton has loaded exactly these models, by their sha256."""
        place = self.find(release)
        if place is None or not (mark := self._mark_of(place)).is_file():
            return False
        return mark.read_text(encoding="utf-8") == self._digest(release, place)

    def expect_alive(self) -> None:
        """Fail now rather than after the export. Raises StepError where a Triton does not answer."""
        settings = patient(self.settings).triton
        with self.translate_errors():
            for url in settings.node_urls:
                with closing(TritonScores(settings, url)) as client:
                    client.ping()

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

    def wait_until_served(self, release: str) -> None:
        # of several, one may be starting again
        if len(self.settings.triton.node_urls) == 1:
            self.expect_alive()
        if (place := self.find(release)) is None:
            raise StepError(
                f"release {release} has no model in Triton: run {self.step}"
            )
        for each in (*self.encoders(release), place):
            self.wait_until_ready(each)

    # Going live needs no change here, as a request names its version.

    def delete(self, releases: Collection[str]) -> None:
        """Remove the versions, which Triton unloads within a second.

        A version that names no release is the leftover of another program, and goes too.
        """
        for place, model in self.versions().items():
            if model.release in {*releases, None}:
                self.remove(place)
                self._mark_of(place).unlink(missing_ok=True)
        for release in releases:
            for encoder in self.encoders(release):
                self.remove(encoder)


def config_pbtxt(name: str, model: bytes) -> str:
    """A model's configuration, by the names, types and shapes in its file.

    Every version in the folder is served until its folder is deleted, however new the others are. Triton batches only
    rows of candidates: those of a model with a history share it, and an encoder makes one user's vector.
    """
    graph = onnx.load_from_string(model).graph
    is_batched = [each.name for each in graph.input] == [wire.MODEL_INPUT]
    tensors = []
    for each in (*graph.input, *graph.output):
        tensor = each.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        dims = [str(dim.dim_value or -1) for dim in tensor.shape.dim]
        if is_batched:  # Triton itself adds a batch's first dimension
            dims = dims[1:]
        tensors.append(
            _TENSOR.format(each.name, np_to_triton_dtype(dtype), ", ".join(dims))
        )
    *inputs, output = tensors
    return _CONFIG.format(
        model=name,
        max_batch=wire.MAX_BATCH if is_batched else 0,
        inputs=", ".join(inputs),
        output=output,
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
