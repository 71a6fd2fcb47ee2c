from __future__ import annotations

from online.recommend.recommend import acting
from tests.unit.extras.conftest import Fakes


def test_plain_requests_run_no_hook(fakes: Fakes) -> None:
    """What an extension adds to the answers of its own field costs no other request anything."""
    phases = fakes.recommender.phases
    request = fakes.parts.request_model.model_validate
    plain = request({"userid": 1, "size": 5})
    for phase in (
        phases.state,
        phases.history,
        phases.recall,
        phases.candidates,
        phases.rerank,
        phases.page,
        phases.annotate,
    ):
        assert acting(phase, plain) == []
    filtered = request({"userid": 1, "exclude": [2]})
    assert len(acting(phases.recall, filtered)) == 1
    assert len(acting(phases.rerank, filtered)) == 1
