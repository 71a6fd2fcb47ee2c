"""The root of the project's own errors: a mistake or a fault that a person can do something about.

A `RecsysError` is reported in one sentence, without a stack trace; any other exception is a bug and keeps its stack
trace. `data_exchange_center.steps.run` turns the sentence into the end of a process, `online.web.guard` into the
body of a response.
"""

from __future__ import annotations

from typing import ClassVar


class RecsysError(Exception):
    """Something cannot go on. The message says what is wrong, where, and what to do.

    Attributes:
        problem: what is wrong, and where.
        remedy: what to do about it, as a sentence of its own; empty where ``problem`` says it already.
        exit_code: how a process ends that stops because of it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem.rstrip('.')}. {remedy}" if remedy else problem)
