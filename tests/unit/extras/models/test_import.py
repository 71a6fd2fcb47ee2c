from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from data_exchange_center import artifacts
from data_exchange_center.channels import StoredVectors
from data_exchange_center.recipes import Recipe, recipe_called
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.models.__main__ import COMPARED, export_events, import_model
from extras.models.bundle import BundleError
from offline.data.sequences import Inputs, Sequences
from offline.models.kinds import fit_channel, fit_channels
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs
from tests.made_up_data import shop
from tests.unit.extras.models.library_lists import expect_lists_of_the_library
from tests.unit.offline.synthetic import run_steps

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data set with string ids, split; what it may train on is exported to ``events/``."""
    folder = tmp_path_factory.mktemp("models")
    settings = Settings(
        data=shop(folder / "data", users=60, items=70, views=900),
        exchange_dir=folder / "exchange",
    )
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, folder / "events")
    return settings


@pytest.fixture
def settings(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The same data set, in an exchange folder without models."""
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / "offline").symlink_to(data.offline_dir)
    return data.model_copy(update={"exchange_dir": tmp_path / "exchange"})


def events(data: Settings, name: str = "events") -> pd.DataFrame:
    return pd.read_parquet(data.exchange_dir.parent / "events" / f"{name}.parquet")


def written(
    folder: Path, kind: str, rows: pd.DataFrame, seed: int = 0, bias: bool = True
) -> Path:
    """A bundle of random numbers, and the lists that they give."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    users, items = np.unique(rows["user"]), rng.permutation(np.unique(rows["item"]))
    seen = (
        pd.crosstab(rows["user"], rows["item"])
        .reindex(index=users, columns=items)
        .to_numpy()
        > 0
    )
    table = pd.DataFrame({"id": items})
    if kind == "vectors":
        of_users, of_items, own = (
            rng.normal(size=shape)
            for shape in ((len(users), 5), (len(items), 5), len(items))
        )
        scores = of_users @ of_items.T + (own if bias else 0)
        table["vector"] = list(of_items)
        if bias:
            table["bias"] = own
        pd.DataFrame({"id": users, "vector": list(of_users)}).to_parquet(
            folder / "users.parquet"
        )
    else:
        weights = sp.random(
            len(items), len(items), density=0.6, random_state=seed, format="csr"
        )
        scores = seen @ weights.toarray()
        sp.save_npz(folder / "weights.npz", weights)
    table.to_parquet(folder / "items.parquet")
    scores = np.where(seen, -np.inf, scores)
    best = [
        np.argsort(-row, kind="stable")[: min(COMPARED, np.isfinite(row).sum())]
        for row in scores
    ]
    lists = {"items": [list(items[each]) for each in best]}
    lists["scores"] = [list(row[each]) for row, each in zip(scores, best, strict=True)]
    pd.DataFrame({"id": users, **lists}).to_parquet(folder / "expected.parquet")
    (folder / "model.toml").write_text(
        f'name = "mine"\nkind = "{kind}"\nlibrary = "made up"\n', encoding="utf-8"
    )
    return folder


def test_exported_events_have_own_ids_and_no_holdout(data: Settings) -> None:
    inputs, rows = read_inputs(data), events(data)
    assert len(rows) == len(inputs.data.items)
    assert set(rows["item"]) <= set(artifacts.ITEMS.read(data.exchange_dir)["id"])
    assert rows["user"].str.startswith("u-").all()
    assert (
        0.5 < len(events(data, "events-training")) / len(rows) < 0.6
    )  # rounded down by user


@pytest.mark.parametrize("kind", ["vectors", "item-item"])
def test_a_recipe_of_the_model_alone_is_written(
    settings: Settings, tmp_path: Path, data: Settings, kind: str
) -> None:
    out = import_model(
        settings, written(tmp_path / "bundle", kind, events(data)), with_default=False
    )
    recipe = recipe_called(str(out))
    assert [channel.name for channel in recipe.recall.channels] == ["mine"]
    assert recipe.ranker.kind == "order"


def test_with_default_the_training_model_makes_the_lists(
    settings: Settings, tmp_path: Path, data: Settings
) -> None:
    folder = written(tmp_path / "bundle", "vectors", events(data))
    with pytest.raises(BundleError, match="training"):
        import_model(settings, folder, with_default=True)
    written(folder / "training", "vectors", events(data, "events-training"), seed=1)
    recipe = recipe_called(str(import_model(settings, folder, with_default=True)))
    assert [channel.name for channel in recipe.recall.channels] == [
        "tower",
        "ease",
        "mine",
    ]
    channel = recipe.recall.channels[-1]
    assert channel.training_sha256 != channel.sha256


def change(name: str, **columns: Callable[[pd.DataFrame], object]) -> Change:
    def changed(folder: Path) -> None:
        table = pd.read_parquet(folder / name)
        table.assign(**{key: of(table) for key, of in columns.items()}).to_parquet(
            folder / name
        )

    return changed


def rewritten(name: str, text: str) -> Change:
    def changed(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return changed


def wide(folder: Path) -> None:
    for name in ("items.parquet", "users.parquet"):
        change(name, vector=lambda table: [np.ones(4095, np.float32)] * len(table))(
            folder
        )


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def small_matrix(folder: Path) -> None:
    sp.save_npz(folder / "weights.npz", sp.identity(3, format="csr"))


OF_VECTORS: dict[str, tuple[Change, str]] = {
    "no model.toml": (removed("model.toml"), "model.toml"),
    "no TOML": (rewritten("model.toml", "name = "), "model.toml"),
    "unknown kind": (
        rewritten("model.toml", 'name="m"\nkind="x"\nlibrary="l"'),
        "kind",
    ),
    "bad name": (
        rewritten("model.toml", 'name="M-1"\nkind="vectors"\nlibrary="l"'),
        "name",
    ),
    "no users": (removed("users.parquet"), "users.parquet"),
    "no parquet": (rewritten("users.parquet", "id,vector"), "users.parquet"),
    "unknown item": (
        change("items.parquet", id=lambda table: [*table["id"][:-1], "nowhere"]),
        "nowhere",
    ),
    "unknown user": (
        change("users.parquet", id=lambda table: [*table["id"][:-1], "nobody"]),
        "nobody",
    ),
    "an id twice": (
        change("items.parquet", id=lambda table: [table["id"][1], *table["id"][1:]]),
        "twice",
    ),
    "shapes": (
        change(
            "users.parquet", vector=lambda table: [row[:-1] for row in table["vector"]]
        ),
        "dimensions",
    ),
    "ragged": (
        change(
            "users.parquet",
            vector=lambda table: [table["vector"][0][:2], *table["vector"][1:]],
        ),
        "same number",
    ),
    "NaN": (
        change(
            "items.parquet",
            vector=lambda table: [row * np.nan for row in table["vector"]],
        ),
        "not numbers",
    ),
    "NaN bias": (
        change("items.parquet", bias=lambda table: table["bias"] * np.nan),
        "not numbers",
    ),
    "too many dimensions": (wide, "4094"),
    "no expected lists": (removed("expected.parquet"), "expected.parquet"),
    "other lists": (
        change(
            "expected.parquet",
            items=lambda table: [row[::-1] for row in table["items"]],
        ),
        "first difference",
    ),
    "short lists": (
        change(
            "expected.parquet",
            items=lambda table: [row[:3] for row in table["items"]],
            scores=lambda table: [row[:3] for row in table["scores"]],
        ),
        "3 items",
    ),
    "other scores": (
        change(
            "expected.parquet",
            scores=lambda table: [row * 1.01 for row in table["scores"]],
        ),
        "first difference",
    ),
}
OF_MATRICES: dict[str, tuple[Change, str]] = {
    "another size": (small_matrix, "shape"),
    "no matrix": (rewritten("weights.npz", "nothing"), "weights.npz"),
}
BROKEN = {
    name: (kind, *case)
    for kind, cases in (("vectors", OF_VECTORS), ("item-item", OF_MATRICES))
    for name, case in cases.items()
}


@pytest.mark.parametrize(("kind", "broken", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_bundle_is_refused_and_nothing_written(
    settings: Settings,
    data: Settings,
    tmp_path: Path,
    kind: str,
    broken: Change,
    says: str,
) -> None:
    folder = written(tmp_path / "bundle", kind, events(data))
    broken(folder)
    with pytest.raises(BundleError) as raised:
        import_model(settings, folder, with_default=False)
    assert says in str(raised.value)
    assert not (settings.exchange_dir / "models").exists()


@pytest.mark.parametrize(
    ("name", "with_default"),
    [
        ("ease", True),
        ("tower", False),
        ("fm", False),
        ("fused", False),
        ("source", False),
    ],
)
def test_a_taken_name_is_refused(
    settings: Settings, data: Settings, tmp_path: Path, name: str, with_default: bool
) -> None:
    folder = written(tmp_path / "bundle", "vectors", events(data))
    written(folder / "training", "vectors", events(data, "events-training"), seed=1)
    rewritten(
        "model.toml", f'name = "{name}"\nkind = "vectors"\nlibrary = "made up"\n'
    )(folder)
    with pytest.raises(BundleError, match="taken"):
        import_model(settings, folder, with_default=with_default)
    assert not (settings.exchange_dir / "models").exists()


def test_a_training_model_of_another_kind_is_refused(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = written(tmp_path / "bundle", "vectors", events(data))
    written(folder / "training", "item-item", events(data, "events-training"))
    with pytest.raises(BundleError, match="kind"):
        import_model(settings, folder, with_default=True)
    assert not (settings.exchange_dir / "models").exists()


def test_a_file_that_changed_since_is_refused(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    out = import_model(
        settings,
        written(tmp_path / "bundle", "vectors", events(data)),
        with_default=False,
    )
    inputs = read_inputs(settings)
    file = json.loads(out.read_text())["recall"]["channels"][0]["file"]
    (settings.exchange_dir / file).write_bytes(b"other")
    with pytest.raises(StepError, match="changed"):
        fit_channels(inputs.data, inputs, recipe_called(str(out)))


def test_a_recipe_is_found_after_the_exchange_folder_moved(
    settings: Settings, data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = import_model(
        settings,
        written(tmp_path / "bundle", "vectors", events(data)),
        with_default=False,
    )
    inputs, moved = read_inputs(settings), tmp_path / "moved"
    settings.exchange_dir.rename(moved)
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(moved))
    assert fit_channels(
        inputs.data, inputs, recipe_called(str(moved / "models" / out.name))
    )


def test_an_interrupted_import_leaves_the_earlier_one(
    settings: Settings, data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = import_model(
        settings,
        written(tmp_path / "first", "vectors", events(data)),
        with_default=False,
    )
    before, inputs = out.read_text(), read_inputs(settings)
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "model_dump_json", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_model(
                settings,
                written(tmp_path / "second", "vectors", events(data), seed=1),
                with_default=False,
            )
    assert out.read_text() == before
    assert fit_channels(inputs.data, inputs, recipe_called(str(out)))
    import_model(settings, tmp_path / "second", with_default=False)
    assert sorted(path.suffix for path in out.parent.iterdir()) == [".json", ".npz"]


def test_a_past_that_lacks_what_the_model_saw_is_refused(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = written(tmp_path / "bundle", "vectors", events(data))
    written(folder / "training", "vectors", events(data, "events-training"), seed=1)
    alone = recipe_called(str(import_model(settings, folder, with_default=False)))
    fused = recipe_called(str(import_model(settings, folder, with_default=True)))
    inputs = read_inputs(settings)
    shorter = inputs.data.before_last(1)
    whole, of_lists = (
        fit_imported(fused, past, inputs)
        for past in (inputs.data, inputs.data.earlier(0.6))
    )
    assert not np.array_equal(whole, of_lists, equal_nan=True)
    of_shorter = fit_imported(fused, shorter, inputs)
    assert np.array_equal(
        of_shorter, of_lists, equal_nan=True
    )  # it knows the first 60 % alone
    for recipe, past in ((alone, shorter), (fused, inputs.data.earlier(0.5))):
        with pytest.raises(StepError, match="trained on"):
            fit_imported(recipe, past, replace(inputs, data=past))


def fit_imported(recipe: Recipe, past: Sequences, inputs: Inputs) -> np.ndarray:
    fitted = fit_channel(recipe.recall.channels[-1], past, inputs, recipe.data).channel
    assert isinstance(fitted, StoredVectors)
    return fitted.users


def test_a_model_that_saw_held_out_events_is_refused(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = written(tmp_path / "bundle", "vectors", events(data))
    with (folder / "model.toml").open("a", encoding="utf-8") as about:
        about.write(f"events = {len(events(data)) + 1}\n")
    with pytest.raises(BundleError, match="held-out"):
        import_model(settings, folder, with_default=False)
    assert not (settings.exchange_dir / "models").exists()


@pytest.mark.parametrize("kind", ["vectors", "item-item"])
def test_the_steps_answer_with_the_lists_of_the_library(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = written(tmp_path / "bundle", kind, events(data))
    exchange = tmp_path / "exchange"
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(exchange))
    shutil.copytree(data.exchange_dir, exchange)
    alone = data.model_copy(update={"exchange_dir": exchange})
    recipe = import_model(alone, folder, with_default=False)
    settings = run_steps(alone.model_copy(update={"recipe_name": str(recipe)}))
    expect_lists_of_the_library(settings, folder)
