"""One provider and one bench for all tests of a process, and a folder for each test."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.torture.bench import Bench, Provider, World, quick_folder


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("home"))) as bench:
        yield bench


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with closing(Provider(tmp_path_factory.mktemp("mock"))) as provider:
        yield provider


@pytest.fixture
def quick() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.fixture
def world(bench: Bench, provider: Provider, quick: Path) -> World:
    return World(bench, provider, quick)
