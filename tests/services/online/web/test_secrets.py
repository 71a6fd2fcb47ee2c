"""Secrets are in no log, no answer and no metric, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import requests
from pydantic import SecretStr

from extras.keys import hook as keys
from tests.free_ports import settings_on_free_ports
from tests.services.online.gunicorn_server import running

REDIS, ELASTIC, OWN = "hush-redis", "hush-elastic", "hush-own-key"


def test_secrets_are_told_nowhere(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"password": SecretStr(REDIS)}),
            "elasticsearch": settings.elasticsearch.model_copy(update={"password": SecretStr(ELASTIC)}),
        }
    )
    key = keys.add(settings.keys_file, "shop")
    (digest,) = keys.read(settings.keys_file).values()
    more = {"workers": 1, "keys_for": "all", "rate": "100/second", "key": SecretStr(OWN)}
    with running(tmp_path, settings, **more) as (settings, _):
        url, good = settings.server.url, {"Authorization": f"Bearer {key}"}
        wrong = {"Authorization": f"Bearer {key}x"}
        answers = [
            requests.post(f"{url}/ml/rec", json={"userid": 1}, headers=good, timeout=30),  # no service is there
            requests.post(f"{url}/ml/rec?key={key}", json={"userid": 0}, headers=good, timeout=30),
            requests.post(f"{url}/ml/rec", json={"userid": 1}, headers=wrong, timeout=30),
            requests.get(f"{url}/ml/rec", headers=good, timeout=30),
            requests.get(f"{url}/readyz", timeout=30),
            requests.get(f"{url}/metrics", headers=good, timeout=30),
        ]
    assert [answer.status_code for answer in answers] == [503, 400, 401, 405, 503, 200]
    log = (tmp_path / "server.log").read_text()
    assert '"key": "shop"' in log
    told = log + "".join(answer.text + str(answer.headers) for answer in answers)
    assert [secret for secret in (REDIS, ELASTIC, OWN, key, digest) if secret in told] == []
