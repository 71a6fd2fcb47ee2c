"""Release manifests as files: what was released, and whether it passed the check of offline against online."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from data_exchange_center.files import written_in_place
from data_exchange_center.release import Manifest, ParityRecord, why_unreadable
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError

CHECK: str = "offline_to_online/rank/s3_check_offline_and_online.py"


def manifest_path(settings: Settings, release: str) -> Path:
    return settings.release_dir / release / "manifest.json"


def open_release(settings: Settings) -> Manifest:
    """The release that the artifacts make; its manifest is written, without the record of an earlier check.

    Every step that loads or checks a release begins with this, so what is loaded again has to be checked again. Raises
    ArtifactError when a part is missing.
    """
    manifest = release_of_artifacts(settings)
    _write(settings, manifest)
    return manifest


def record_parity(settings: Settings, manifest: Manifest, record: ParityRecord) -> None:
    """Write into the manifest that offline and online agree."""
    _write(settings, manifest.model_copy(update={"parity": record}))


def require_parity(settings: Settings, release: str) -> tuple[Manifest, ParityRecord]:
    """The manifest of a release that may go live, and its record. Raises StepError when there is no such record."""
    path = manifest_path(settings, release)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        raise StepError(f"{path} cannot be read ({why_unreadable(error)})", f"Run {CHECK} again.") from error
    if manifest is None or manifest.parity is None:
        raise StepError(
            f"release {release} must not go live: it has not passed the check of offline against online since it was "
            f"last loaded (no record in {path})",
            f"Run {CHECK}.",
        )
    return manifest, manifest.parity


def _write(settings: Settings, manifest: Manifest) -> None:
    with written_in_place(manifest_path(settings, manifest.release)) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
