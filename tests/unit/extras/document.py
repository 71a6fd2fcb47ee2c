"""The OpenAPI document of a server with all extras."""

from __future__ import annotations

from typing import Any, Final

import jsonschema

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender


def document() -> dict[str, Any]:
    recommender = Recommender.from_settings(Settings())
    try:
        return dict(
            create_app(recommender, Settings()).test_client().get("/openapi.json").json
            or {}
        )
    finally:
        recommender.close()


DOCUMENT: Final = document()


def conforms(content: Any, name: str) -> None:
    """Assert that a JSON value is as the document has it."""
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": DOCUMENT["components"],
    }
    jsonschema.Draft202012Validator(schema).validate(content)
