"""Contract of the store of trials: run against its fake and against Redis."""

from __future__ import annotations

import pytest

from extras.trials.changes import start_experiment, stop_experiment
from extras.trials.state import Declaration, TrialError, Trials
from extras.trials.store import TrialStore

LIVE = "aaaaaaaaaaaa"


def started_one(before: Trials, name: str) -> Trials:
    """With an experiment of the live release against itself."""
    arms = {"a": {"release": LIVE}, "b": {"release": LIVE}}
    declared = Declaration.model_validate({"name": name, "arms": arms})
    return start_experiment(before, declared, {LIVE: "made up"})


class TrialStoreContract:
    """A subclass gives ``client``."""

    def test_what_is_changed_is_read(self, client: TrialStore) -> None:
        assert client.call(None) == Trials()
        client.update(lambda before: started_one(before, "ranker"))
        found = client.update(lambda before: stop_experiment(before, "ranker"))
        assert found == client.call(None)
        assert found.running is None

    def test_a_change_that_is_refused_changes_nothing(self, client: TrialStore) -> None:
        before = client.update(lambda before: started_one(before, "ranker"))
        with pytest.raises(TrialError):
            client.update(lambda before: started_one(before, "ranker"))
        assert client.call(None) == before
