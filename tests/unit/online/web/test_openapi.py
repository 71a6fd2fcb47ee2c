from __future__ import annotations

import json
import re
from contextlib import nullcontext
from html.parser import HTMLParser
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from online.recommend.outcomes import BadRequestError
from online.recommend.types import Request
from online.web.guard import validated


def schemas(http: FlaskClient) -> dict[str, Any]:
    return dict(http.get("/openapi.json").json["components"]["schemas"])


def test_it_is_a_valid_document(http: FlaskClient) -> None:
    openapi_spec_validator.validate(http.get("/openapi.json").json)


def test_it_describes_every_path_and_method_that_there_is(http: FlaskClient) -> None:
    paths = http.get("/openapi.json").json["paths"]
    there = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in http.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.endswith("static")
    }
    assert there == {
        (path, method.upper()) for path, methods in paths.items() for method in methods
    }


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)
REQUESTS = st.dictionaries(
    st.sampled_from([*Request.model_fields, "x"]), VALUES, max_size=4
)


@given(REQUESTS)
def test_the_description_equals_what_is_accepted(body: dict[str, Any]) -> None:
    """But for 1.0, which JSON Schema calls an integer and a strict model does not."""
    if any(isinstance(value, float) and value.is_integer() for value in body.values()):
        return
    valid = jsonschema.Draft202012Validator(Request.model_json_schema()).is_valid(body)
    with nullcontext() if valid else pytest.raises(BadRequestError):
        validated(json.dumps(body).encode(), Request.model_validate_json)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [
            value or "" for name, value in attrs if name in ("href", "src", "action")
        ]
        self.ids |= {value or "" for name, value in attrs if name == "id"}


def test_the_page_needs_no_network_and_shows_every_field(http: FlaskClient) -> None:
    response = http.get("/docs")
    assert response.mimetype == "text/html"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    page = Links()
    page.feed(response.text)
    assert {address for address in page.addresses if not address.startswith("#")} == {
        "openapi.json"
    }
    assert {
        address[1:] for address in page.addresses if address.startswith("#")
    } <= page.ids
    assert not re.search(r"https?://|//\w+\.\w+|@import|url\(", response.text)
    for name, schema in schemas(http).items():
        assert name in page.ids
        for field in schema.get("properties", ()):
            assert f"<code>{field}</code>" in response.text
