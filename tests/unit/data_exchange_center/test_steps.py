"""A step ends on a user's mistake with one sentence."""

import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run


@pytest.mark.parametrize("error", [StepError("no such folder"), ArtifactError("x is missing")])
def test_a_mistake_is_a_sentence_and_exit_code_1(error: Exception) -> None:
    def main(settings: Settings) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert str(error) in str(caught.value)


def test_a_bug_keeps_its_stack_trace() -> None:
    def main(settings: Settings) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_main_is_given_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SERVER__PORT", "5123")
    seen: list[Settings] = []
    run(seen.append)
    assert seen[0].server.port == 5123
