"""Requests in the background while something happens to the stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests


@contextmanager
def background_requests(ask: Callable[[int], requests.Response]) -> Iterator[list[requests.Response]]:
    """Call ``ask`` with one user after the other until the block ends; yields the answers, which grow meanwhile."""
    answers: list[requests.Response] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            answers.append(ask(1 + len(answers) % 50))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()
