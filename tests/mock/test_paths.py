"""Where the mock answers, and to whom."""

import json
from collections.abc import Callable

import pytest

from .loopback import Wire, post

BODY = b'{"model":"mock-1","messages":[{"role":"user","content":"hi"}]}'


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/chat/completions", "mock-1"),
        ("/chat/completions", "mock-1"),
        ("/openai/v1/chat/completions", "mock-1"),
        ("/openai/deployments/my%20own/chat/completions?api-version=2024-10-21", "my own"),
    ],
)
def test_a_path_of_another_style_is_answered_and_may_name_the_model(
    path: str, model: str, mock_server: Callable[..., str], wire: Callable[[str], Wire]
) -> None:
    connection = wire(mock_server())
    connection.send(post(BODY, path=path))
    assert json.loads(connection.read_answer()[1])["model"] == model


@pytest.mark.parametrize("header", ["authorization: Bearer", "x-api-key:", "api-key:", "x-goog-api-key:"])
def test_a_key_is_accepted_in_each_providers_header(
    header: str, mock_server: Callable[..., str], wire: Callable[[str], Wire]
) -> None:
    connection = wire(mock_server(api_key="right"))
    for key, status in (("right", b"200"), ("wrong", b"401")):
        connection.send(post(BODY, f"{header} {key}"))
        assert connection.read_answer()[0].split()[1] == status
