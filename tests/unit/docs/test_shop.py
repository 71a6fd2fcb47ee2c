"""The chapter "Your shop in twenty minutes": from three CSV files to purchases ranked first."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from extras import replay
from extras.own_data import proposal
from research.evaluation import baselines
from research.evaluation.one_table import evaluate
from research.measure import shop
from research.measure.event_types import BUY, VIEW, Typed
from tests.readmes import ROOT
from tests.unit.offline.synthetic import run_steps

CHAPTER = (ROOT / "docs" / "guides" / "shop.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chapter") / "my-shop"
    with pytest.MonkeyPatch.context() as patch:
        size = ["--users", "150", "--items", "60", "--visits", "8"]
        patch.setattr(sys, "argv", ["shop", str(folder), *size])
        shop.main()
    proposal.main(Settings(), folder)
    return folder


def test_the_proposal_is_the_chapters(folder: Path) -> None:
    (shown,) = re.findall(r"```toml\n(\[types\].*?)```", CHAPTER, re.DOTALL)
    proposed = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert proposed["types"] == tomllib.loads(shown)["types"]
    assert proposed["interactions"]["type"] == "kind"


def test_purchases_are_ranked_first(folder: Path, tmp_path: Path) -> None:
    settings = run_steps(Settings(data=folder, exchange_dir=tmp_path / "exchange"))
    manifest = release_of_artifacts(settings)
    assert manifest.objectives == {"view": 0.1, "cart": 0.3, "buy": 1.0}
    purchases = Typed(settings)
    bought = purchases.targets(BUY)

    def ndcg(lists: replay.Lists) -> float:
        return float(np.nanmean(replay.ndcg(lists, bought, 20)))

    holdout = purchases.holdout
    ranked = replay.answers(settings, holdout).ranked
    views = replay.answers(settings, holdout, objectives=(1.0, 0.0, 0.0)).ranked
    assert ndcg(ranked) > 1.2 * ndcg(baselines.popularity(holdout, replay.SHOWN))
    assert ndcg(ranked) > ndcg(views), "the request's weights move the order"
    assert purchases.targets(VIEW).nnz > bought.nnz
    by_type = evaluate(settings, "make evaluate-offline")["types"]
    assert [*by_type] == ["view", "cart", "buy"]
    of_purchases = by_type["buy"]
    assert (
        of_purchases["default: ranked"]["ndcg@50"]
        > of_purchases["popularity"]["ndcg@50"]
    )
