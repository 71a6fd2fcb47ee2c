import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError, Binary, Document, Table
from data_exchange_center.manifest import Manifest
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from tests.synthetic_release import write_artifacts, write_inputs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Where the artifacts of the default recipe lie."""
    write_artifacts(tmp_path)
    return Settings(exchange_dir=tmp_path)


def test_release_id_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        write_artifacts(folder, seed=1)
    here, there = (
        release_of_artifacts(Settings(exchange_dir=each)) for each in folders
    )
    assert here == there


@pytest.mark.parametrize(
    "artifact", artifacts.RELEASE_PARTS, ids=lambda artifact: artifact.path
)
def test_another_byte_in_any_part_is_another_release(
    tmp_path: Path, settings: Settings, artifact: Binary
) -> None:
    before = release_of_artifacts(settings)
    path = artifact.at(tmp_path)
    if path.suffix == ".json":
        path.write_bytes(path.read_bytes() + b"\n")
    elif path.suffix in {".pt", ".npz"}:
        path.write_bytes(path.read_bytes() + b"0")
    else:
        artifact.write(tmp_path, artifact.read(tmp_path).iloc[::-1])  # type: ignore[attr-defined,arg-type]
    write_inputs(tmp_path)
    assert release_of_artifacts(settings).release != before.release


@pytest.mark.parametrize(
    ("changed", "again"),
    [(artifacts.ITEMS, "s2_term_trans"), (artifacts.FEATURE_SPEC, "s2_model_train")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_of_two_runs_are_refused_with_the_step_to_run(
    tmp_path: Path, changed: Table | Document, again: str
) -> None:
    """A step was run again on other data, those after it were not."""
    write_artifacts(tmp_path / "one", seed=1)
    write_artifacts(tmp_path / "other", seed=2)
    shutil.copyfile(changed.at(tmp_path / "other"), changed.at(tmp_path / "one"))
    with pytest.raises(
        ArtifactError,
        match=rf"{changed.path} is not the file that .*{again}\.py was run on\. Run",
    ):
        release_of_artifacts(Settings(exchange_dir=tmp_path / "one"))


def test_artifacts_of_another_recipe_or_of_a_changed_one_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = r"s1_data_split\.py was run with recipe 'default'; .* RECSYS_RECIPE"
    with pytest.raises(ArtifactError, match=said):
        release_of_artifacts(settings.model_copy(update={"recipe_name": "source"}))
    changed = RECIPES["default"].model_copy(update={"recall": RECIPES["source"].recall})
    monkeypatch.setitem(RECIPES, "default", changed)
    said = "recipe 'default', as it was then; the recipe now is 'default'"
    with pytest.raises(ArtifactError, match=said):
        release_of_artifacts(settings)


@pytest.mark.parametrize(
    ("document", "content", "said"),
    [
        (
            artifacts.FEATURE_SPEC,
            {"one_hot": []},
            r"is no feature spec \(multi_hot: .*s1_feature_engi\.py",
        ),
        (
            artifacts.RECALL_REPORT,
            {"inputs": []},
            r"recall_report\.json.*s2_vector_recall\.py: run that step again",
        ),
    ],
    ids=lambda value: getattr(value, "path", ""),
)
def test_an_incomplete_document_is_a_one_sentence_error(
    tmp_path: Path,
    settings: Settings,
    document: Document,
    content: dict[str, object],
    said: str,
) -> None:
    document.write(tmp_path, content)
    if "inputs" not in content:
        write_inputs(tmp_path)
    with pytest.raises(ArtifactError, match=said):
        release_of_artifacts(settings)


def test_another_id_of_a_release_is_refused(settings: Settings) -> None:
    manifest = release_of_artifacts(settings)
    for other in ("../../x", "0123456789AB", "0123456789a", "0123456789abc", ""):
        with pytest.raises(ValidationError) as refused:
            Manifest.model_validate({**manifest.model_dump(), "release": other})
        assert [error["loc"] for error in refused.value.errors()] == [("release",)]


def test_how_the_index_is_searched_asks_for_no_new_training(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = release_of_artifacts(settings)
    recipe = settings.recipe
    searched = {"num_candidates": 999, "index": "hnsw"}
    recall = recipe.recall.model_copy(update=searched)
    monkeypatch.setitem(
        RECIPES, "default", recipe.model_copy(update={"recall": recall})
    )
    after = release_of_artifacts(settings)
    assert after.release != before.release
    assert after.parts == before.parts
