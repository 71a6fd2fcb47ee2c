"""A service on this machine in the place of OSV (osv.dev)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest


class Osv(BaseHTTPRequestHandler):
    """One hole, in any version of flask and of log4j-core; of a package called broken it knows to say nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = asked["package"]
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0"}]}]
        hole = {
            "id": "PYSEC-2019-179",
            "aliases": ["GHSA-5wv5-4vpf-pj6m", "CVE-2019-1010083"],
            "details": "",
            "published": "2019-07-17T14:15:00Z",
            "modified": "2019-07-17T14:15:00Z",
            "affected": [
                {"package": package, "ranges": ranges, "versions": [asked["version"]]},
                {"package": {**package, "name": "another"}, "ranges": [{"events": [{"fixed": "9"}]}]},
            ],
        }
        answer = json.dumps({"vulns": [hole]} if package["name"].endswith(("flask", "log4j-core")) else {}).encode()
        self.send_response(500 if package["name"].endswith("broken") else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; pip-audit asks it too."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", url)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield url
        server.shutdown()
        thread.join()
