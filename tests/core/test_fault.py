"""What a fault tells of itself."""

import pytest

from llmbatch.core.fault import Fault, Kind
from llmbatch.dialects.error_rules import classify
from llmbatch.dialects.errors import error_in


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},  # llama.cpp
        {"error": "Model org/name is currently loading", "estimated_time": 20.0},  # Hugging Face
        {"error": "llm server loading model"},  # Ollama
        {"error": {"message": "Service Unavailable", "code": "model_not_ready"}},
        {"detail": "The engine is starting up."},
        {"message": "Warming up, come back later"},
    ],
)
def test_a_server_that_says_that_it_is_loading_is_recognised(body: dict[str, object]) -> None:
    assert classify(error_in(body, 503), {}).is_loading


def test_lm_studio_says_so_with_a_400() -> None:
    for words in ("Model is loading", "Model was unloaded while the request was still in queue.."):
        assert classify(error_in({"error": words}, 400), {}).is_loading


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, "Overloaded, try again"),
        (429, "Loading model"),
        (500, "Loading model"),
        (503, "Downloading"),
    ],
)
def test_other_refusals_are_not_loading(status: int, message: str) -> None:
    assert not Fault(kind=Kind.OVERLOADED, message=message, status=status).is_loading


def test_a_fault_without_an_answer_is_not_loading() -> None:
    assert not Fault(kind=Kind.CONNECTION, message="loading").is_loading
