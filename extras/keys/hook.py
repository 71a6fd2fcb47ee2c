"""Keys and rates: who may ask, and how often."""

from __future__ import annotations

from flask import Flask

from extras.keys.keys import register_keys, warn_if_open
from extras.keys.rate import register_rate
from online.web.parts import Parts


def register(app: Flask, parts: Parts) -> None:
    """Check each request's key before anything else, then count it."""
    settings = parts.settings
    warn_if_open(settings.server)
    register_keys(app, settings.server, settings.keys_file)
    register_rate(app, settings.server, settings.redis)
