"""The root of the project's errors."""

from __future__ import annotations

import pickle

import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.errors import RecsysError
from data_exchange_center.features import MissingFeatureError
from data_exchange_center.steps import CheckError, StepError
from offline.movielens import MalformedLineError
from online.clients.base import GoneError, ServiceError
from online.recommend.release import OpeningError
from online.recommend.types import NoReleaseError
from online.stack.service import StackError
from online.web.guard import BadRequestError


@pytest.mark.parametrize(
    "kind",
    [
        ArtifactError, BadRequestError, CheckError, GoneError, MalformedLineError, MissingFeatureError, NoReleaseError,
        OpeningError, ServiceError, StackError, StepError,
    ],
)  # fmt: skip
def test_every_error_of_the_project_has_one_root(kind: type[Exception]) -> None:
    assert issubclass(kind, RecsysError)


def test_the_message_is_the_problem_and_the_remedy() -> None:
    error = StepError("Redis does not answer", "Run `make up`.")
    assert str(error) == "Redis does not answer. Run `make up`."
    assert (error.problem, error.remedy) == ("Redis does not answer", "Run `make up`.")
    assert str(StepError("x is missing: run s1")) == "x is missing: run s1"


def test_an_error_crosses_processes_whole() -> None:
    there = pickle.loads(pickle.dumps(StepError("Redis does not answer", "Run `make up`.")))
    assert (str(there), there.remedy) == ("Redis does not answer. Run `make up`.", "Run `make up`.")
