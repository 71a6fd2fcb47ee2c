"""A client that `openapi-python-client` generates from the description, without a warning, calls it with types."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.unit.extras.asking import DOCUMENT

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
