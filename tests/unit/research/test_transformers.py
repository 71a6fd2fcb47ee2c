"""eSASRec and HSTU, on people who walk round the items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from offline.data.sequences import Sequences
from research import transformers
from research.next_item import from_the_end, measured, requests
from research.transformers import Network, Training, Transformer, lists, train, window
from tests.unit.offline.models.test_stages import ITEMS, USERS, inputs_of

LIGR = Transformer("small", "ligr", dim=8, negatives=20, learning_rate=0.02)
HSTU = Transformer("small", "hstu", clock=True, dim=8, heads=2, negatives=20, temperature=0.05, learning_rate=0.02)


@pytest.fixture
def data() -> Sequences:
    found = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1)).data
    return replace(found, liked=np.ones_like(found.liked))


@pytest.mark.parametrize("model", [LIGR, HSTU], ids=lambda model: model.kind)
def test_nothing_looks_ahead(data: Sequences, model: Transformer) -> None:
    network = Network(model, data.n_items).eval()
    seen = window(data, np.array([0]), np.array([6]), clock=False, asked=np.zeros(1))
    other = seen._replace(items=seen.items.clone())
    other.items[0, 4:] = 1
    one, two = network(seen), network(other)
    assert torch.allclose(one[0, :4], two[0, :4], atol=1e-6)
    assert not torch.allclose(one[0, 4:], two[0, 4:], atol=1e-3)


def test_the_time_of_the_request_counts_where_the_model_is_to_know_it(data: Sequences) -> None:
    network = Network(HSTU, data.n_items).eval()
    soon, late = (
        network(window(data, np.array([0]), np.array([6]), HSTU.clock, asked))[0, -1]
        for asked in (data.times[5:6] + 1, data.times[5:6] + 10**7)
    )
    assert not torch.allclose(soon, late)


@pytest.mark.parametrize("model", [LIGR, HSTU], ids=lambda model: model.kind)
def test_a_training_ends_where_validation_stops_rising_and_resumes(
    data: Sequences, model: Transformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers, "BATCH", 8)
    monkeypatch.setattr(transformers, "OVER_AFTER", 3)
    whole = train(model, data, tmp_path / "whole.pt")
    assert whole.over
    events = from_the_end(data, 1)
    found = lists(whole.best_network(), data, requests(data, events, model.clock), 10)
    assert measured(found, data.items[events])["ndcg@10"] > 0.6
    seen = data.before_last(1).seen().toarray() > 0
    assert not seen[data.users[events][:, None], found][found > 0].any()

    keep = Training.keep

    def interrupted(training: Training, path: Path) -> None:
        keep(training, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(model, data, tmp_path / "part.pt")
    monkeypatch.setattr(Training, "keep", keep)
    resumed = train(model, data, tmp_path / "part.pt")
    assert [epoch["loss"] for epoch in resumed.epochs] == [epoch["loss"] for epoch in whole.epochs]
