"""A model of each kind but encoders, of two libraries; the others: test_longest.py."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.pipeline import ROOT, Pipeline

# with the download of what the library needs, on a busy machine
LIBRARY_SECONDS = 1_500


def exported_events(pipeline: Pipeline, folder: Path) -> Path:
    """What a model may be trained on."""
    done = pipeline.run("make", "export-events", f"folder={folder}")
    assert done.returncode == 0, done.stdout
    return folder


def imported(
    pipeline: Pipeline,
    events: Path,
    library: str,
    model: str,
    *options: str,
    exporter: str = "",
) -> tuple[Path, Path]:
    """Train, export and import a model: its bundle and its recipe. The import has compared all lists of the bundle.

    Args:
        options: further ones of the exporter.
        exporter: from_<exporter>.py, if it is not named like the library.
    """
    bundle = events / f"{library}_{model}"
    script = f"extras/models/exporters/from_{exporter or library}.py"
    # that PyTorch is here already
    python = ("--python", sys.executable) if sys.version_info < (3, 13) else ()
    uv = str(ROOT / ".venv/bin/uv")
    command = (
        uv,
        "run",
        "--quiet",
        *python,
        script,
        str(events),
        str(bundle),
        "--model",
        model,
        *options,
    )
    done = pipeline.run(*command, seconds=LIBRARY_SECONDS)
    assert done.returncode == 0, done.stdout
    done = pipeline.run("make", "import-model", f"bundle={bundle}")
    assert done.returncode == 0, done.stdout
    return bundle, pipeline.settings.exchange_dir / "models" / f"{bundle.name}.json"


def check_served(
    pipeline: Pipeline, bundle: Path, recipe: Path, users: int = 60
) -> None:
    """The live server's lists are those of the library."""
    expected = pd.read_parquet(bundle / "expected.parquet").head(users)
    with pipeline.with_release(RECSYS_RECIPE=str(recipe)) as live:
        same = []
        for user, items in zip(expected["id"], expected["items"], strict=True):
            answer = live.recommend(int(user), size=len(items), explain="recall").json()
            assert bundle.name in answer["recall"]
            listed = [str(item["itemid"]) for item in answer["item_list"]]
            # the last may have equal scores
            same.append(len(set(listed) & set(map(str, items))) / len(items))
    assert sum(same) / len(same) == pytest.approx(1, abs=0.01)


@pytest.fixture(scope="module")
def events(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_events(pipeline, tmp_path_factory.mktemp("models"))


def test_an_imported_model_has_the_librarys_lists(
    pipeline: Pipeline, events: Path
) -> None:
    imported(pipeline, events, "implicit", "als")
