"""The ranking model in Triton: a release's version, exported, served and compared with PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import ModelInputs, Widths
from data_exchange_center.release import Manifest
from data_exchange_center.steps import StepError
from offline_to_online.stores import triton_repo, triton_server
from offline_to_online.stores.base import ReleaseStore
from offline_to_online.stores.triton_server import Place


@dataclass(frozen=True)
class ModelContent:
    """An exported model, and what PyTorch says of some lists."""

    onnx: bytes
    widths: Widths
    lists: Sequence[ModelInputs]
    scores: Sequence[Float32]  # of each list


@dataclass(frozen=True)
class ModelReport:
    """Where the model stands, and how far its scores are from PyTorch's at most."""

    place: Place
    difference: float


class TritonStore(ReleaseStore[ModelContent, ModelReport]):
    """A version of the ranking model a release."""

    title: ClassVar[str] = "Triton"
    step: ClassVar[str] = "offline_to_online/rank/s2_model_to_triton.py"

    @property
    def address(self) -> str:
        return self.settings.triton.http_url

    def check_alive(self) -> None:
        """Fail now rather than after the export."""
        with self.reaching():
            triton_server.check_alive(self.settings.triton)

    def place_of(self, release: str) -> Place:
        """Where a release's model stands, its newest one. Raises StepError when there is none."""
        place = triton_repo.place_of(self.settings, release)
        if place is None:
            raise StepError(f"release {release} has no model in Triton: run {self.step}")
        return place

    def _load(self, manifest: Manifest, content: ModelContent) -> None:
        triton_repo.publish(self.settings, manifest.release, content.widths, content.onnx)

    def _check(self, manifest: Manifest, content: ModelContent) -> ModelReport:
        place = self.place_of(manifest.release)
        triton_server.check_metadata(
            self.settings.triton, place, content.widths, triton_repo.max_batch_size(content.widths)
        )
        difference = triton_server.check_scores(self.settings.triton, place, content.lists, content.scores)
        return ModelReport(place, difference)

    def _mark(self, release: str) -> None:
        triton_repo.mark_checked(self.settings, self.place_of(release))

    def _unmark(self, release: str) -> None:
        if (place := triton_repo.place_of(self.settings, release)) is not None:
            triton_repo.unmark(self.settings, place)

    def _is_checked(self, release: str) -> bool:
        place = triton_repo.place_of(self.settings, release)
        return place is not None and triton_repo.is_checked(self.settings, place)

    def _releases(self) -> set[str]:
        return {model.release for model in triton_repo.versions(self.settings).values() if model.release}

    def wait_until_served(self, release: str) -> None:
        with self.reaching():
            triton_server.wait_until_ready(self.settings.triton, self.place_of(release))

    def activate(self, release: str) -> None:
        """Nothing to do: a request to Triton names its version."""

    def delete(self, releases: Collection[str]) -> None:
        """Remove the versions, and models without any version, and tell Triton.

        A version that names no release is the leftover of another program, and goes too.
        """
        with self.reaching():
            found = triton_repo.versions(self.settings)
            removed = [place for place, model in found.items() if model.release in {*releases, None}]
            for place in removed:
                shutil.rmtree(triton_repo.folder_of(self.settings, place))
                triton_repo.unmark(self.settings, place)
            used = {place.model for place in found if place not in removed}
            for model in triton_repo.models(self.settings):
                if model not in used:
                    triton_server.unload_model(self.settings, model)
                    shutil.rmtree(self.settings.service_dir("triton") / model)
                elif any(place.model == model for place in removed):
                    triton_server.load_model(self.settings, model)
