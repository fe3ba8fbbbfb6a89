"""A command of one's own, and providers to talk to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .command import Command, Mock


@pytest.fixture
def llmbatch(tmp_path: Path) -> Iterator[Command]:
    """Run the command in a home of its own."""
    command = Command(tmp_path)
    yield command
    command.close()


@pytest.fixture(scope="session")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    """Serve everybody who needs a provider without moods."""
    provider = Mock(tmp_path_factory.mktemp("mock"))
    yield provider
    provider.close()


@pytest.fixture
def start_mock(tmp_path: Path) -> Iterator[Callable[..., Mock]]:
    """Start a provider with these flags, for one test."""
    with ExitStack() as stack:

        def start(*flags: object, **options: object) -> Mock:
            provider = Mock(tmp_path, *flags, **options)  # type: ignore[arg-type]
            stack.callback(provider.close)
            return provider

        yield start
