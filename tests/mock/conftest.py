"""Fixtures: providers and raw connections that are gone when the test is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from llmbatch.mock.settings import MockSettings

from .loopback import Wire, running


@pytest.fixture(params=["uvloop", "asyncio"])
def mock_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Start a provider with these settings; return its base URL."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(
            running(MockSettings(**settings), uvloop=request.param == "uvloop")
        )


@pytest.fixture
def wire() -> Iterator[Callable[[str], Wire]]:
    """Open a raw connection to a URL."""
    with ExitStack() as sockets:

        def connect(url: str) -> Wire:
            opened = Wire(url)
            sockets.callback(opened.socket.close)
            return opened

        yield connect
