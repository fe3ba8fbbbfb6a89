"""The command, as for the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Command


@pytest.fixture
def llmbatch(tmp_path: Path) -> Iterator[Command]:
    """Run the command in a home of its own."""
    command = Command(tmp_path)
    yield command
    command.close()
