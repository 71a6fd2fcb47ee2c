"""What is held out, and what of it is read."""

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs, read_with_holdout
from tests.unit.offline.synthetic import made_up_movielens


def test_a_final_fit_holds_nothing_out_and_is_not_evaluated(tmp_path: Path) -> None:
    """Until the steps run without it: the data set's own rule comes back."""
    settings = Settings(
        data=made_up_movielens(tmp_path / "films"), exchange_dir=tmp_path / "exchange"
    )
    final = settings.model_copy(update={"final": True})
    held_out = []
    for each in (settings, final, settings.model_copy(update={"data": None})):
        s0_get_data.main(each)
        s1_data_split.main(each)
        split = artifacts.RATINGS.read(each.artifacts_dir)[Columns.SPLIT]
        held_out.append(int((split == Split.HOLDOUT).sum()))
        inputs = read_inputs(each)
        assert inputs.dataset.final == each.final
        assert inputs.dataset.name.endswith("+final") == each.final
        if each.final:
            assert len(inputs.data.items) == len(split)
            with pytest.raises(
                StepError, match=r"fitted on all events.*without final=1"
            ):
                read_with_holdout(each)
        else:
            assert len(read_with_holdout(each).data.items) == len(split)
    assert held_out[0] == held_out[2] > 0 == held_out[1]
