"""Release manifests as files, so that anyone can see what was released without a service running."""

from __future__ import annotations

from pathlib import Path

from data_exchange_center.artifacts import written_in_place
from data_exchange_center.release import Manifest, release_of_artifacts
from data_exchange_center.settings import Settings


def manifest_path(settings: Settings, release: str) -> Path:
    return settings.release_dir / release / "manifest.json"


def open_release(settings: Settings) -> Manifest:
    """The release that the artifacts make, with its manifest written beside those of earlier ones.

    Raises ArtifactError when a part is missing.
    """
    manifest = release_of_artifacts(settings)
    with written_in_place(manifest_path(settings, manifest.release)) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest
