from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask import Flask
from pydantic import Field

from data_exchange_center import plugins
from data_exchange_center.candidates import StoredUser
from data_exchange_center.plugins import PluginError
from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.loaded_release import Release
from online.recommend.types import Answer, Request, Slate
from online.web.parts import Parts, UnguardedError, named
from tests.unit.online.conftest import Fakes, plain
from tests.unit.online.world import AT, DefaultWorld

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)


class ShopRequest(Request):
    hidden: int = 0


class ShopAnswer(Answer):
    shop: str = Field(default="", exclude_if=lambda name: not name)


def register(app: Flask, parts: Parts) -> None:
    """Hide an item that a request names, and say so in the answer."""

    def hide(request: Request, opened: Release, user: StoredUser) -> StoredUser:
        hidden = request.hidden if isinstance(request, ShopRequest) else 0
        return replace(user, seen=np.r_[user.seen, np.int32(hidden)])

    def name(slate: Slate) -> None:
        slate.more["shop"] = "ours"

    parts.extend_request(ShopRequest)
    parts.extend_answer(ShopAnswer)
    parts.recommender.phases.recall.append(hide)
    parts.recommender.phases.annotate.append(name)


def post(app: Flask, **body: Any) -> Any:
    return app.test_client().post(
        "/ml/rec", json={"userid": 1, "timestamp": AT, **body}
    )


def test_an_extension_adds_fields_and_hooks(fakes: Fakes) -> None:
    app = create_app(fakes.recommender, plain(Settings()))
    best = post(app).json["item_list"][0]["itemid"]
    assert post(app, hidden=best).status_code == 400
    register(app, app.extensions["recsys"])
    after = post(app, hidden=best).json
    assert after["shop"] == "ours"
    assert best not in {item["itemid"] for item in after["item_list"]}
    assert post(app, hidden="x").json["error"]["field"] == "hidden"
    # another application has none of it
    assert "shop" not in post(create_app(fakes.recommender, plain(Settings()))).json


def test_hooks_run_for_the_requests_they_concern(fakes: Fakes) -> None:
    """For those that give one of their fields, and while their extension needs them."""
    app, ran = create_app(fakes.recommender, plain(Settings())), list[str]()
    phases = fakes.recommender.phases
    register(app, app.extensions["recsys"])
    phases.annotate.append(lambda slate: ran.append("every"))
    phases.annotate.append(lambda slate: ran.append("hidden"), "hidden", "stock")
    hook = phases.rerank.append(lambda slate: ran.append("needed"))
    for body, expected in (
        ({}, ["needed", "every"]),
        ({"hidden": 0}, ["needed", "every", "hidden"]),
    ):
        ran.clear()
        assert post(app, **body).status_code == 200
        assert ran == expected
    hook.needed = False
    ran.clear()
    post(app)
    assert ran == ["every"]


def found_as(monkeypatch: pytest.MonkeyPatch, **extras: Any) -> list[str]:
    """Pretend that these extras are installed; what is registered of them."""
    registered: list[str] = []

    def load(group: str, name: str) -> Any:
        if isinstance(extras[name], Exception):
            raise extras[name]
        return lambda app, parts: registered.append(name)

    monkeypatch.setattr(
        plugins, "find", lambda group: dict.fromkeys(extras, SimpleNamespace())
    )
    monkeypatch.setattr(plugins, "load", load)
    return registered


def test_the_servers_own_come_first_in_order_and_others_after(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = found_as(monkeypatch, shop=None, page=None, keys=None)
    create_app(fakes.recommender, Settings())
    assert registered == ["keys", "page", "shop"]


def test_an_extension_with_a_missing_package_is_left_out(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ModuleNotFoundError("No module", name="extras.events")
    registered = found_as(monkeypatch, trials=gone, page=None)
    create_app(fakes.recommender, Settings(server={"extras": "keys,trials,page"}))
    assert registered == ["page"]
    assert "trials is left out: there is no extras.events" in caplog.text
    assert "keys is left out: its folder is not here" in caplog.text
    found_as(monkeypatch, page=ModuleNotFoundError("No module", name="rich"))
    with pytest.raises(ModuleNotFoundError):
        create_app(fakes.recommender, Settings())


def test_a_setting_names_those_that_are_wanted(fakes: Fakes) -> None:
    for wanted, expected in (
        ("all", ("a", "b")),
        ("none", ()),
        ("b", ("b",)),
        ("b, c", ("b", "c")),
        ("all,c", ("a", "b", "c")),
        ("b,a", ("a", "b")),
        ("all,b", ("a", "b")),
        ("c,b,b", ("b", "c")),
    ):
        assert named(wanted, ("a", "b")) == expected
    unknown = r"No 'nothing' among the plugins of 'recsys.server'"
    with pytest.raises(PluginError, match=unknown):
        create_app(fakes.recommender, Settings(server={"extras": "nothing"}))


@pytest.mark.parametrize(
    "wanted", [{"keys_for": "all"}, {"rate": "20/second"}], ids=str
)
def test_a_server_with_keys_needs_the_keys_extension(
    fakes: Fakes, wanted: dict[str, Any]
) -> None:
    settings = Settings(server={"extras": "page", **wanted})
    with pytest.raises(UnguardedError, match="name it in RECSYS_SERVER__EXTRAS"):
        create_app(fakes.recommender, settings)
