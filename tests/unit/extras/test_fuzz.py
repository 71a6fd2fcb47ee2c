"""Requests made from the API's description, right and wrong ones. FUZZ_CASES=10000 makes more.

They are sent to the application in this process, over services in memory, or to the server at FUZZ_URL.
"""

from __future__ import annotations

import math
import os

import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from tests.unit.extras.asking import DOCUMENT

URL = os.environ.get("FUZZ_URL")
api = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = len(list(api.get_all_operations()))
QUESTIONS = {
    "where",
    "exclude",
    "only",
    "history",
    "candidates",
}  # fields with ids and values of the release
CASES = math.ceil(int(os.environ.get("FUZZ_CASES", "450")) / OPERATIONS)  # of each


@api.parametrize()
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_too_much(case: schemathesis.Case, http: FlaskClient) -> None:
    """Valid ones are accepted, others refused; every answer is one that the description names, in its shape."""
    # JSON Schema calls 1.0 an integer, and does not know of which kind a release's ids are, nor which events it takes
    # and which attributes its items have
    body = case.body if isinstance(case.body, dict) else {}
    text = isinstance(body.get("userid"), str) or "userid" in (case.query or {})
    unsure = text or any(isinstance(value, float) for value in body.values())
    unsure |= not QUESTIONS.isdisjoint(body) or isinstance(body.get("cursor"), str)
    # of the last: ids and types of events; n and offset together
    unsure |= case.operation.path.startswith(
        ("/ml/event", "/ml/user/", "/ml/similar", "/ml/item", "/api/")
    )
    # rather an error than an answer that came too late; and little time is refused where more than it is needed
    may_fail = body.get("strict") is True or bool(body.get("budget_ms"))
    excluded = [positive_data_acceptance] if unsure or may_fail else []
    where = {"base_url": URL} if URL else {"app": http.application}
    response = case.call(**where)
    excluded += [not_a_server_error] if may_fail else []
    # refused, by a status it does not list
    excluded += [negative_data_rejection] if response.status_code == 413 else []
    case.validate_response(response, excluded_checks=excluded)
    assert response.status_code < 500 or (may_fail and response.status_code == 503)
    if response.status_code >= 400:
        assert set(response.json()) == {"error"}
        assert {"code", "message"} <= set(response.json()["error"])
