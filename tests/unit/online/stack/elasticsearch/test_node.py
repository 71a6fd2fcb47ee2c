"""Files of a node's home."""

from __future__ import annotations

from pathlib import Path

import pytest

from online.stack.elasticsearch import node
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


def test_a_node_is_alone_unless_it_is_given_others() -> None:
    assert node.node_settings(Path("/home"), {})["discovery.type"] == "single-node"
    given = {
        "cluster.initial_master_nodes": "node-1,node-2",
        "network.host": "0.0.0.0",
        "xpack.security.enabled": "false",
    }
    values = node.node_settings(Path("/home"), given)
    assert values["network.host"] == "0.0.0.0"
    assert not {"discovery.type", "xpack.security.enabled"} & set(values)


def test_security_needs_the_official_image() -> None:
    with pytest.raises(SystemExit, match=r"xpack\.security\.enabled is 'true'.*official image"):
        node.node_settings(Path("/home"), {"xpack.security.enabled": "true"})
