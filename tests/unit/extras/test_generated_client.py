"""A client that `openapi-python-client` generates from the API's description calls every path with types."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from data_exchange_center.settings import Settings
from extras.keys import store as keys
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes, serving
from tests.unit.extras.document import DOCUMENT
from tests.unit.online.world import DefaultWorld

NAME = "generated_recsys_client"
OPERATIONS = {
    each["operationId"]: each
    for methods in DOCUMENT["paths"].values()
    for each in methods.values()
}
LAST = [
    "add_item",
    "change_item",
    "add_items",
    "start_experiment",
    "stop_experiment",
    "remove_item",
    "remove_items",
    "forget",
]
USER, ITEM, NEW_ITEM, OTHER = "8", "4", "999001", "bbbbbbbbbbbb"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(DOCUMENT))
    (folder / "config.yaml").write_text("post_hooks: []\n")
    program = Path(sys.executable).with_name("openapi-python-client")
    done = subprocess.run(
        [
            program,
            "generate",
            "--path",
            "openapi.json",
            "--config",
            "config.yaml",
            "--output-path",
            NAME,
            "--meta",
            "none",
            "--fail-on-warning",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    sys.path.insert(0, str(folder))
    yield importlib.import_module(NAME)
    sys.path.remove(str(folder))


def typed(annotation: Any, example: Any) -> Any:
    """A body of the generated types, from an example: a model, a list of one, or a union of these."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(example, list) and get_origin(kind) is list:
            return [get_args(kind)[0].from_dict(each) for each in example]
        if isinstance(example, dict) and hasattr(kind, "from_dict"):
            return kind.from_dict(example)
    raise AssertionError(f"{annotation} has no type for {example}")


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_every_path_is_called_and_answers_with_its_type(
    generated: ModuleType, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_SERVER__FAULTS", "on")
    path = tmp_path / "api_keys"
    key = keys.add(path, "client")
    app = create_app(
        fakes.recommender, Settings(server={"keys_file": path}), fakes.stores
    )
    release = fakes.world.release
    values: dict[str, Any] = {
        "q": fakes.world.titles[4][:4],
        "release": release,
        "userid": USER,
        "name": "x",
    }
    of_one = {
        "similar": {"itemid": [ITEM]},
        "change_item": {"itemid": NEW_ITEM},
        "remove_item": {"itemid": NEW_ITEM},
    }
    fakes.add(replace(fakes.world, release=OTHER, seed=1))
    fakes.users.activate(OTHER)
    fakes.users.activate(release)
    arms = {"control": {"release": release}, "treatment": {"release": OTHER}}
    bodies: dict[str, Any] = {
        "start_experiment": {"arms": arms, "name": "x"},
        "add_item": {
            "itemid": int(NEW_ITEM),
            "title": "New",
            "attributes": {"genres": ["Comedy"]},
        },
        "add_items": [
            {
                "itemid": int(NEW_ITEM) + 1,
                "title": "Another",
                "attributes": {"genres": ["Comedy"]},
            }
        ],
    }
    bodies["remove_items"] = [
        {"itemid": each["itemid"]} for each in bodies["add_items"]
    ]
    answers = {}
    with (
        serving(app) as url,
        generated.AuthenticatedClient(
            url, key, raise_on_unexpected_status=True
        ) as client,
    ):
        for name, operation in sorted(
            OPERATIONS.items(),
            key=lambda each: LAST.index(each[0]) if each[0] in LAST else -1,
        ):
            call = importlib.import_module(
                f"{NAME}.api.default.{'map_' if name == 'map' else name}"
            ).sync_detailed
            given = {
                each["name"]: of_one.get(name, {}).get(
                    each["name"], values.get(each["name"], ITEM)
                )
                for each in operation.get("parameters", ())
                if each.get("required")
            }
            if "requestBody" in operation:
                example = operation["requestBody"]["content"]["application/json"][
                    "example"
                ]
                given["body"] = typed(
                    get_type_hints(call)["body"], bodies.get(name, example)
                )
            answers[name] = call(client=client, **given)
    error = importlib.import_module(f"{NAME}.models").ErrorAnswer
    wrong = {
        name: found.content[:300]
        for name, found in answers.items()
        if found.status_code != 200
        or found.parsed is None
        or isinstance(found.parsed, error)
    }
    assert wrong == {}
    for name, found in answers.items():
        if hasattr(found.parsed, "to_dict"):
            assert found.parsed.to_dict() == json.loads(found.content), name
