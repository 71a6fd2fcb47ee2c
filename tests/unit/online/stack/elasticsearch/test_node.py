"""What a node finds in its home."""

from __future__ import annotations

from pathlib import Path

import pytest

from online.stack.elasticsearch import container, node
from online.stack.elasticsearch.jars import Jar

JARS = (Jar("org.example:server:2.0", "0"), Jar("org.example:netty-buffer:2.0", "0"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(node, "locked_jars", lambda: JARS)
    folder = tmp_path / "library"
    folder.mkdir()
    for jar in JARS:
        (folder / jar.filename).write_bytes(b"jar")
    return folder


def test_a_plugins_jars_leave_the_class_path_and_those_of_an_earlier_version_go(library: Path, tmp_path: Path) -> None:
    """Two versions of one jar in a plugin stop the node: it would not start on the data of an earlier version."""
    home = tmp_path / "home"
    plugin = home / "modules/transport-netty4"
    plugin.mkdir(parents=True)
    (plugin / "netty-buffer-1.0.jar").touch()
    (home / "data").mkdir()
    (home / "data/kept").touch()
    node.lay_out(library, home)
    node.lay_out(library, home)
    assert sorted(path.name for path in plugin.iterdir()) == ["netty-buffer-2.0.jar", "plugin-descriptor.properties"]
    assert (home / "data/kept").exists()


def test_the_image_is_told_by_the_environment_as_elasticsearchs_own() -> None:
    values = container.settings_of({"cluster.name": "mine", "xpack.security.enabled": "false", "PATH": "/bin"})
    assert values["cluster.name"] == "mine"
    assert values["network.host"] == "0.0.0.0"
    assert not [name for name in values if name.startswith("xpack") or name == "PATH"]


def test_security_needs_the_official_image() -> None:
    with pytest.raises(SystemExit, match=r"xpack\.security\.enabled is 'true'.*official image"):
        container.settings_of({"xpack.security.enabled": "true"})
