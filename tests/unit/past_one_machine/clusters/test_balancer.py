from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from online.stack.service import StackError
from past_one_machine.clusters.balancer import KINDS, Front, render
from tests.needs import program


def test_each_kind_is_configured(tmp_path: Path) -> None:
    fronts = [Front(kind, 8080 + n, ("127.0.0.1:5001", "other.example:5002")) for n, kind in enumerate(KINDS)]
    text = render(fronts)
    for kind in KINDS:
        assert f"server {kind}-1 127.0.0.1:5001 check\n    server {kind}-2 other.example:5002 check" in text
        assert f"use_backend {kind}-unchecked if {{ nbsrv({kind}) eq 0 }}" in text
        assert f"server {kind}-1 127.0.0.1:5001\n    server {kind}-2 other.example:5002\n" in text, "all are asked then"
    backends = text.split("\nbackend ")[1:]
    assert len(backends) == 2 * len(KINDS)
    assert all(backend.count("disable-l7-retry") == 1 for backend in backends)
    assert "event" not in text, "an event is sent once"


def test_haproxy_takes_it(tmp_path: Path) -> None:
    haproxy = program("haproxy")
    path = tmp_path / "haproxy.cfg"
    path.write_text(render([Front(kind, 8080 + n, ("127.0.0.1:5001",)) for n, kind in enumerate(KINDS)]))
    checked = subprocess.run([haproxy, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@pytest.mark.parametrize(
    ("front", "said"),
    [
        (Front("redis", 1, ("a:1",)), "no kind is called 'redis'; there are: server, feast, triton"),
        (Front("server", 8080, ()), "nobody stands behind port 8080"),
        (Front("server", 8080, ("a",)), "'a' is no address"),
        (Front("server", 8080, ("a:1\nglobal",)), "is no address"),
    ],
)
def test_what_cannot_be_is_one_sentence(front: Front, said: str) -> None:
    with pytest.raises(StackError, match=said):
        render([front])
