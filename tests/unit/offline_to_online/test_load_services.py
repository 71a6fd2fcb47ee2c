from __future__ import annotations

import elasticsearch
import pytest
import redis
import requests
from tritonclient.utils import InferenceServerException

from data_exchange_center.steps import StepError
from offline_to_online.load.services import CheckError, reaching


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused."),
        redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        elasticsearch.ConnectionError("Connection refused"),
        requests.ConnectionError("Connection refused"),
        InferenceServerException("failed to connect"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_clients_error_becomes_one_sentence_with_address_and_remedy(error: Exception) -> None:
    with pytest.raises(StepError) as caught, reaching("Store", "127.0.0.1:1"):
        raise error
    said = str(caught.value)
    assert said.startswith("Store at 127.0.0.1:1 ")
    assert "make up" in said
    assert "\n" not in said


def test_a_failed_check_and_a_bug_pass_through() -> None:
    with pytest.raises(CheckError, match="user 3"), reaching("Store", "here"):
        raise CheckError("user 3")
    with pytest.raises(ZeroDivisionError), reaching("Store", "here"):
        raise ZeroDivisionError
