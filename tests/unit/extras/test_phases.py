from __future__ import annotations

from tests.unit.extras.conftest import Fakes


def test_plain_requests_run_no_hook(fakes: Fakes) -> None:
    """What an extension adds to the answers of its own field costs no other request anything."""
    phases, plain = (
        fakes.recommender.phases,
        fakes.parts.request_model.model_validate({"userid": 1, "size": 5}),
    )
    assert not phases.state.of(plain)
    assert not phases.history.of(plain)
    assert not phases.recall.of(plain)
    assert not phases.candidates.of(plain)
    assert not [
        *phases.rerank.of(plain),
        *phases.page.of(plain),
        *phases.annotate.of(plain),
    ]
    filtered = fakes.parts.request_model.model_validate({"userid": 1, "exclude": [2]})
    assert len(phases.recall.of(filtered)) == len(phases.rerank.of(filtered)) == 1
