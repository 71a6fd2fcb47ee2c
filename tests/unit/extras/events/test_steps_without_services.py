from __future__ import annotations

from types import ModuleType

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events import s1_log_to_parquet, s2_features_to_feast
from tests.unit.offline_to_online.test_steps_without_services import nothing_runs  # noqa: F401 (a fixture)


@pytest.mark.parametrize("step", [s1_log_to_parquet, s2_features_to_feast], ids=lambda step: str(step.__name__))
def test_a_step_of_events_without_redis_says_so(nothing_runs: Settings, step: ModuleType) -> None:  # noqa: F811
    with pytest.raises(StepError) as caught:
        step.main(nothing_runs)
    said = str(caught.value)
    assert said.startswith("Redis")
    assert str(nothing_runs.redis.port) in said
    assert "make up" in said
