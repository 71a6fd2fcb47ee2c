"""The root of the project's own errors: a mistake or a fault that a person can do something about.

A `RecsysError` is reported in one sentence, without a stack trace; any other exception is a bug and keeps its stack
trace. `data_exchange_center.steps.run` ends the process with the sentence, `online.web.guard` sends it as the body of a
response.
"""

from typing import ClassVar


class RecsysError(Exception):
    """An error that a person can remedy. The message says what is wrong, where, and what to do.

    Attributes:
        problem: what is wrong, and where.
        remedy: what to do about it, as a sentence of its own; empty where ``problem`` says it already.
        exit_code: of a process that stops because of it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem.rstrip('.')}. {remedy}" if remedy else problem)
