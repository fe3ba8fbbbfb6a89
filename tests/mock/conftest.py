"""Fixtures: providers and raw connections that are gone when the test is."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from llmbatch.mock.settings import MockSettings
from tests.support.deep import DEEP

from .loopback import Wire, running

LOOPS = ("uvloop", "asyncio")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each case of the tests here on one of the two event loops, in turn; on both in a deep run."""
    if DEEP or any("[" in name for name in config.args):
        return
    loops = itertools.cycle(LOOPS)
    chosen: dict[str, str] = {}
    left_out = []
    for item in items:
        if isinstance(item, pytest.Function) and "mock_server" in item.fixturenames:
            loop = item.callspec.params["mock_server"]
            case = item.nodeid.replace(loop, "", 1)
            if case not in chosen:
                chosen[case] = next(loops)
            if chosen[case] != loop:
                left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(params=LOOPS)
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
