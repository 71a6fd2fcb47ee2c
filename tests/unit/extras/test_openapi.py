"""The document of a server with all extras: the same promises."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.unit.online.web import test_openapi as core
from tests.unit.online.web.test_openapi import *  # noqa: F403 (with the fixtures of this folder)


def test_a_request_is_described_by_the_model_that_checks_it(http: FlaskClient) -> None:
    described = core.schemas(http)["Request"]
    assert described["properties"].keys() == http.application.extensions["recsys"].request_model.model_fields.keys()
    assert described["anyOf"] == [{"required": ["userid"]}, {"required": ["history"]}]
    assert described["additionalProperties"] is False
