"""What gunicorn does for the server: workers that are counted together, clients that are slow."""

from __future__ import annotations

from pathlib import Path

import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import ServerSettings
from online.web.worker_marks import WorkerMarks
from tests.metrics_page import requests_of, value
from tests.services.online.gunicorn_server import running


def test_gunicorns_workers_are_counted_together(tmp_path: Path) -> None:
    with running(tmp_path, workers=2, threads=3) as (settings, master):

        def page() -> str:
            return requests.get(f"{settings.server.url}/metrics", timeout=10).text

        def ask(times: int) -> None:
            for _ in range(times):  # a connection each, so that both workers get some
                assert requests.get(f"{settings.server.url}/nowhere", timeout=10).status_code == 404

        ask(30)
        assert requests_of(page(), 404, "not_found", "unmatched") == 30
        workers = master.children()
        assert len(workers) == 2
        for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1)):
            with attempt:
                ask(1)
                assert value(page(), "threads") == 6
        workers[0].kill()
        for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1)):
            with attempt:  # the dead one's threads are gone, the new one's have come
                assert workers[0].pid not in {child.pid for child in master.children()}
                assert value(page(), "threads") == 6
        assert requests_of(page(), 404, "not_found", "unmatched") > 30  # what the dead one counted stays
        left = [path.name for path in settings.service_dir("server").rglob("*.db")]
        assert not [name for name in left if "live" in name and str(workers[0].pid) in name]
    with running(tmp_path, port=settings.server.port, workers=1):
        assert requests_of(page(), 404, "not_found", "unmatched") == 0
        assert value(page(), "threads") == ServerSettings().threads


def test_a_server_that_is_stopped_while_its_workers_are_replaced_kills_none_of_them(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as (settings, _):
        marks = WorkerMarks(settings.started_workers_dir)
        for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1)):
            with attempt:
                assert len(marks.pids()) == 2
        marks.clear()  # as at the beginning of a replacement whose new workers have yet to come
    said = (tmp_path / "server.log").read_text()
    assert "Shutting down" in said
    assert "SIGKILL" not in said
