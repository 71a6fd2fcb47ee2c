"""The document of a server with all extras: the same promises."""

from __future__ import annotations

from typing import Any

import jsonschema
from flask.testing import FlaskClient

from tests.unit.online.web.test_openapi import *  # noqa: F403 (with the fixtures of this folder)


def schemas(http: FlaskClient) -> dict[str, Any]:
    return dict(http.get("/openapi.json").json["components"]["schemas"])


def test_a_request_is_described_by_the_model_that_checks_it(http: FlaskClient) -> None:
    described = schemas(http)["Request"]
    assert (
        described["properties"].keys()
        == http.application.extensions["recsys"].request_model.model_fields.keys()
    )
    valid = jsonschema.Draft202012Validator(
        described | {"$defs": {}, "properties": {}, "additionalProperties": True}
    )
    assert [
        valid.is_valid(dict.fromkeys(given))
        for given in ([], ["userid"], ["history"], ["userid", "history"])
    ] == [
        False,
        True,
        True,
        True,
    ]
    assert described["additionalProperties"] is False


def test_no_two_components_have_one_title(http: FlaskClient) -> None:
    titles = [schema.get("title", name) for name, schema in schemas(http).items()]
    assert len(titles) == len(set(titles))
    assert not any("__" in name for name in schemas(http))
