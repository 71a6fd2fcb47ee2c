from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.evaluate import evaluate
from research.figures import evaluation_pictures as pictures
from tests.unit.offline.evaluation import live_events
from tests.unit.offline.evaluation.conftest import settings_of
from tests.unit.research.measure import diversity_figures


@pytest.fixture(scope="module")
def found(exchange: Path) -> dict[str, Any]:
    return evaluate(settings_of("default", exchange), "", source=settings_of("source", exchange))


def widths(figure: Figure, panel: int) -> list[float]:
    return [patch.get_width() for patch in figure.axes[panel].patches]  # type: ignore[attr-defined]


def test_a_bar_a_system_as_long_as_its_mean(found: dict[str, Any]) -> None:
    figure = pictures.systems(found)
    for panel, metric in enumerate(pictures.METRICS):
        assert widths(figure, panel) == [system[metric]["mean"] for system in found["systems"].values()]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(found["systems"])


def test_the_funnel_is_as_wide_as_what_is_still_there(found: dict[str, Any]) -> None:
    figure = pictures.funnel(found)
    stage = found["funnel"]["200"]
    values = [part["found"] for part in stage["channels"].values()]
    alone = [part["by no other"] for part in stage["channels"].values()]
    expected = [*values, stage["found by any"], stage["fused"], stage["ranked"], *alone]
    assert widths(figure, 0) == pytest.approx(expected)


def test_slices_show_every_slice_of_every_list_that_is_shown(found: dict[str, Any]) -> None:
    figure = pictures.slices(found)
    assert len(figure.axes) == 2
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert names == ["popularity", "item-kNN", "EASE", "source: ranked", "default: ranked"]
    assert len(figure.axes[0].patches) == len(names) * len(pictures.SLICES)


def test_the_ablation_marks_the_recipe_as_it_is() -> None:
    values = {"recall@200": 0.7, "recall@50": 0.4, "ndcg@50": 0.3}
    rows = [{"group": group, "name": group, **values} for group in ("fusion", "ranker")]
    figure = pictures.ablation({"rows": rows, "reference": "ranker"})
    assert [figure.axes[n].lines[0].get_xdata()[0] for n in range(3)] == list(values.values())  # type: ignore[index]


def test_live_events_are_a_line_a_variant_and_one_of_strangers() -> None:
    left, right = pictures.live_events(live_events.FIGURE).axes
    assert [line.get_label() for line in left.lines] == list(live_events.VARIANTS)
    assert right.get_title()


def test_diversity_is_drawn_value_by_value_with_the_chosen_one_marked() -> None:
    panels = pictures.diversity(diversity_figures.SERVED).axes
    assert [axes.lines[-1].get_xdata()[0] for axes in panels] == [0.2] * 3  # type: ignore[index]
    assert panels[1].lines[0].get_ydata() == pytest.approx([0.8, 0.9, 0.95])
    assert panels[2].lines[0].get_ydata() == pytest.approx([1, 1.2, 1.4])


def test_kinds_have_colours_of_their_own() -> None:
    names = ("EASE", "source: ranked", "default: channel tower", "default: ranked")
    assert len({pictures.colour(name) for name in names}) == len(names)


def test_a_figure_that_was_not_measured_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FIGURES", tmp_path)
    with pytest.raises(StepError, match=r"evaluation\.json is missing"):
        pictures.main(Settings())
