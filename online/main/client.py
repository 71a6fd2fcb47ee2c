"""A client of the server for programs: pooled connections, retries, a timeout, typed answers.

    from online.main.client import Client

    with Client("http://127.0.0.1:5000", key="...") as client:
        for item in client.recommend(1, size=10, where={"genres": ["Comedy"]}).item_list:
            print(item.title, item.score)

An error, or no answer, raises `ServerError`. Requests are retried when the connection fails, and after 429 and 503,
which is safe: they only read, or are idempotent. `extras.client.Client` has the extras' calls, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import requests
from pydantic import BaseModel, ValidationError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from data_exchange_center.dataset import OwnId
from data_exchange_center.errors import RecsysError
from data_exchange_center.http import local_session
from online.recommend.types import Answer

Found = TypeVar("Found", bound=BaseModel)


class Recommended(Answer, extra="allow"):
    """An answer of /ml/rec or /ml/rank; what extras add (``explained``, ``cursor``, ...) are attributes, too."""

    userid: OwnId = 0  # of a request that names nobody


class ServerError(RecsysError):
    """No answer, or an error; the message is a sentence, the server's own where it has answered.

    Attributes:
        status: HTTP status; 0: no answer.
        field: the field of the request that is wrong, if any.
    """

    def __init__(self, message: str, status: int = 0, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


class Client:
    """Requests to one server. May be shared by threads; close it, or use it in a ``with``."""

    def __init__(
        self, url: str = "http://127.0.0.1:5000", key: str | None = None, *, timeout_s: float = 10.0, retries: int = 2
    ) -> None:
        """``key``: API key, if the server needs one; ``timeout_s``: of each attempt; ``retries``: after the first."""
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        again = Retry(retries, allowed_methods=None, status_forcelist=(429, 503), raise_on_status=False)
        again.backoff_factor, again.retry_after_max = 0.1, 2
        self._http = local_session()
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(pool_maxsize=16, max_retries=again))
        if key:
            self._http.headers["Authorization"] = f"Bearer {key}"

    def recommend(self, userid: OwnId | None = None, **fields: Any) -> Recommended:
        """A user's best unseen items. ``fields``: as of /ml/rec: size, timestamp, where, history, explain, ..."""
        return self._send("POST", "/ml/rec", Recommended, {"userid": userid, **fields})

    def _send(
        self, method: str, path: str, shape: type[Found], body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Found:
        """Send a request, without fields that are None, and parse the answer as ``shape``. Raises ServerError."""
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if value is not None}
        try:
            response = self._http.request(method, f"{self.url}{path}", json=body, params=params, timeout=self.timeout_s)
        except requests.RequestException as error:
            raise ServerError(self._without_an_answer(error)) from error
        try:
            if response.ok:
                return shape.model_validate_json(response.content)
            wrong = response.json()["error"]
            said = f"The server at {self.url} answered {response.status_code}: {wrong['message']}"
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            status = response.status_code
            other = f"What answers at {self.url} is not this server: status {status} without the expected JSON."
            raise ServerError(other, status) from error
        raise ServerError(said, response.status_code, wrong.get("field"))

    def _without_an_answer(self, error: requests.RequestException) -> str:
        last = getattr(error.args[0] if error.args else None, "reason", error)  # of several tries
        if isinstance(last, (requests.Timeout, TimeoutError, ReadTimeoutError)):
            return f"The server at {self.url} did not answer within {self.timeout_s:g} s. See `make logs`."
        if isinstance(error, requests.ConnectionError):
            return f"No server answers at {self.url}. Start it with `make serve`, or name another address."
        return f"{self.url} is not a usable address ({error})."

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
