"""Gorse's feedback types are the types of the data set."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.gorse.test_gorse import RATING, listed, send
from tests.unit.online.world import TypedWorld


@pytest.mark.parametrize("kind", [TypedWorld], indirect=True)
def test_a_feedback_type_is_a_type_of_the_data_set(http: FlaskClient) -> None:
    bought = RATING | {"FeedbackType": "buy", "Value": 0}
    assert send(http, [bought]) == {"RowAffected": 1}
    assert "4" not in [name for name, _ in listed(http, userid=1, size=200)]
    error = send(http, [RATING], 400)["error"]
    assert error["field"] == "[0].FeedbackType"
