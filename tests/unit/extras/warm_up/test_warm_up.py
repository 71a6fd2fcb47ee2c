from __future__ import annotations

import logging

import pytest

from data_exchange_center.settings import ServerSettings, Settings
from extras.warm_up import hook
from online.main.s1_server import create_app
from tests.unit.online.conftest import Fakes


def warm_up(fakes: Fakes, seconds: float = 10.0) -> int:
    """Start a server; how many calls of Triton it has made before the first request."""
    server = fakes.recommender.server
    fakes.recommender.server = server.model_copy(update={"warm_up_s": seconds})
    create_app(fakes.recommender, Settings(server=ServerSettings(extras="warm_up")))
    return len(fakes.scorer.calls)


def test_feast_and_triton_are_called_before_the_first_request(fakes: Fakes) -> None:
    assert warm_up(fakes, 0) == 0
    assert warm_up(fakes) == 1
    (query,) = [each for each in fakes.features.calls if each.entity == "user"]
    assert len(query.ids) == 1


@pytest.mark.parametrize("unexpected", [False, True])
def test_the_server_serves_although_its_warm_up_failed(
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    unexpected: bool,
) -> None:
    caplog.set_level(logging.INFO)
    fakes.recommender.releases.follow()
    fakes.scorer.down = True
    if unexpected:
        monkeypatch.setattr(hook, "with_popular", lambda *arguments: 1 / 0)
    warm_up(fakes)
    assert fakes.recommender.readiness().release == fakes.world.release
    said = "could not be" if unexpected else "left to warm up by requests: triton"
    assert said in caplog.text
