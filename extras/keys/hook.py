"""API keys and rate limits."""

from __future__ import annotations

from flask import Flask

from extras.keys.keys import Keys, note_keys, require_keys, warn_if_open
from extras.keys.rate import register_rate
from online.web.parts import Parts


def register(app: Flask, parts: Parts) -> None:
    """Note each request's key, count the request, then refuse it where it needs a key: wrong keys are counted, too."""
    settings = parts.settings
    warn_if_open(settings.server)
    keys = Keys(settings.keys_file)
    note_keys(app, keys)
    register_rate(app, settings.server, settings.redis)
    require_keys(app, settings.server, keys)
