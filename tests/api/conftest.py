"""A provider for each module, and the results of a generator."""

from collections.abc import Iterator

import pytest

from llmbatch.mock.settings import MockSettings
from tests.mock.loopback import running


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """Serve a provider without moods; return its base URL."""
    with running(MockSettings()) as url:
        yield url
