import json
import re
from contextlib import nullcontext
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


DESCRIBED = jsonschema.Draft202012Validator(Request.model_json_schema())


@given(REQUESTS)
def test_the_description_equals_what_is_accepted(body: dict[str, Any]) -> None:
    """But for 1.0, which JSON Schema calls an integer and a strict model does not."""
    if any(isinstance(value, float) and value.is_integer() for value in body.values()):
        return
    with nullcontext() if DESCRIBED.is_valid(body) else pytest.raises(BadRequestError):
        validated(json.dumps(body).encode(), Request.model_validate_json)


def test_the_page_needs_no_network(http: FlaskClient) -> None:
    response = http.get("/docs")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.search(r"https?://|//\w+\.\w+|@import|url\(", response.text)
