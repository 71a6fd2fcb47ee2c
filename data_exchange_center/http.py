"""HTTP to our own services, without the proxies that the environment may name."""

import requests


def local_session() -> requests.Session:
    """A new session that reads no ``HTTP_PROXY``, ``NO_PROXY`` or ``.netrc``; close it, or use it in a ``with``."""
    session = requests.Session()
    session.trust_env = False
    return session
