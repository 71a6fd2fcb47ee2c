"""The document of a server with all extras: the same promises; a client generated from it; what plain requests run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import pytest
from flask.testing import FlaskClient

from online.recommend.recommend import acting
from tests.unit.extras.asking import DOCUMENT
from tests.unit.extras.conftest import Fakes
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


def test_plain_requests_run_no_hook(fakes: Fakes) -> None:
    """What an extension adds to the answers of its own field costs no other request anything."""
    phases = fakes.recommender.phases
    request = fakes.parts.request_model.model_validate
    plain = request({"userid": 1, "size": 5})
    for phase in (
        phases.state,
        phases.history,
        phases.recall,
        phases.candidates,
        phases.rerank,
        phases.page,
        phases.annotate,
    ):
        assert acting(phase, plain) == []
    filtered = request({"userid": 1, "exclude": [2]})
    assert len(acting(phases.recall, filtered)) == 1
    assert len(acting(phases.rerank, filtered)) == 1


NAME = "generated_recsys_client"
EXAMPLES = {
    each["operationId"]: each["requestBody"]["content"]["application/json"]["example"]
    for methods in DOCUMENT["paths"].values()
    for each in methods.values()
    if "requestBody" in each
}


def test_requests_and_answers_have_their_types(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    program = Path(sys.executable).with_name("openapi-python-client")
    options = f"--path openapi.json --config config.yaml --output-path {NAME} --meta none --fail-on-warning"
    done = subprocess.run(
        [program, "generate", *options.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    with importlib.import_module(NAME).Client(url) as client:
        for name in ("recommend", "rank"):
            call = importlib.import_module(f"{NAME}.api.default.{name}").sync_detailed
            body = get_type_hints(call)["body"].from_dict(EXAMPLES[name])
            found = call(client=client, body=body)
            assert found.status_code == 200, found.content
            assert found.parsed.to_dict() == json.loads(found.content)
