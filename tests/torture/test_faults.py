"""Every operation on a file fails once, or from then on: nothing received is lost, and the next run completes."""

import errno
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.torture.bench import Bench, Ended, Provider, quick_folder, results_of, write_records
from tests.torture.trap import Trap


class World:
    """A run of few records on a disk of its own, so to speak, and a place for rescue that never fails."""

    def __init__(self, bench: Bench, provider: Provider, folder: Path) -> None:
        self._bench, self._provider = bench, provider
        self.disk, self.rescue = folder / "disk", folder / "rescue"
        self.disk.mkdir()
        self.rescue.mkdir()
        self.output = self.disk / "out.jsonl"
        self._told = folder / "struck"

    def run(self, records: list[dict[str, Any]], *more: object, trap: Trap | None = None) -> Ended:
        source = write_records(self.disk.parent / "in.jsonl", records)
        order = (source, "--base-url", self._provider.base_url, "-m", "m", "-o", self.output, "-c", 2, "-b", 2)
        return self._bench.run(self.disk, *order, "--rescue-dir", self.rescue, *more, trap=trap)

    def trap(self, at: int, number: int, *, for_good: bool) -> Trap:
        return Trap(at=at, errno=number, for_good=for_good, folder=str(self.disk), told=str(self._told))

    def answers_received(self) -> set[str]:
        return {
            entry["prompt"].split(" ")[0]
            for entry in self._provider.new_entries()
            if entry["status"] == 200 and not entry["aborted"]
        }

    def answers_kept(self) -> set[str]:
        kept: set[str] = set()
        for path in (self.output, self.disk / "out.jsonl.state" / "redo.jsonl", *self.rescue.iterdir()):
            kept |= {line["id"] for line in results_of(path, torn=True) if line["status"] == "ok"}
        return kept

    def put_back(self) -> None:
        """Do what the message says: put the rescued lines where the next run finds them."""
        for file in self.rescue.iterdir():
            with (self.disk / "out.jsonl.state" / "redo.jsonl").open("ab") as redo:
                redo.write(file.read_bytes())
            file.unlink()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("home"))) as bench:
        yield bench


@pytest.fixture
def quick() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with closing(Provider(tmp_path_factory.mktemp("mock"))) as provider:
        yield provider


def check(world: World, ended: Ended, before: set[str]) -> None:
    """What must hold however a disk fails."""
    received = world.answers_received() | before
    assert ended.code in (0, 1, 2, 6), f"{ended.struck}: {ended.code}: {ended.stderr}"
    assert "Traceback" not in ended.stderr
    assert received <= world.answers_kept(), f"{ended.struck}: lost {received - world.answers_kept()}: {ended.stderr}"
    if ended.code == 6:
        assert ended.stderr.strip(), "no word about what is where"


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["no space", "bad disk"])
def test_a_first_run_loses_nothing_wherever_the_disk_fails(
    bench: Bench, provider: Provider, quick: Path, number: int, for_good: bool
) -> None:
    at = 0
    while True:
        at += 1
        folder = quick / str(at)
        folder.mkdir()
        world = World(bench, provider, folder)
        name = f"{number}.{for_good}.{at}"
        records = [{"id": f"{name}.{i}", "prompt": f"{name}.{i}"} for i in range(6)]
        provider.new_entries()
        ended = world.run(records, trap=world.trap(at, number, for_good=for_good))
        if ended.struck is None:
            assert ended.code == 0
            break
        check(world, ended, set())
        known = world.answers_kept()
        world.put_back()
        assert world.run(records).code == 0, f"after {ended.struck}"
        again = world.answers_received() & known
        assert not again, f"after {ended.struck}: paid twice: {again}"
        assert {line["id"] for line in results_of(world.output)} == {record["id"] for record in records}
    assert at > 20


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
def test_a_resume_with_lines_to_merge_loses_nothing_wherever_the_disk_fails(
    bench: Bench, provider: Provider, quick: Path, for_good: bool
) -> None:
    at = 0
    while True:
        at += 1
        folder = quick / str(at)
        folder.mkdir()
        world = World(bench, provider, folder)
        name = f"merge.{for_good}.{at}"
        records = [{"id": f"{name}.{i}", "prompt": f"{name}.{i}"} for i in range(6)]
        for record in records[::2]:
            record["prompt"] += " [[mock:status code=400 times=1]]"
        provider.new_entries()
        assert world.run(records).code == 1
        before = world.answers_received()
        ended = world.run(records, trap=world.trap(at, errno.ENOSPC, for_good=for_good))
        if ended.struck is None:
            assert ended.code == 0
            break
        check(world, ended, before)
        known = world.answers_kept()
        world.put_back()
        assert world.run(records).code == 0, f"after {ended.struck}"
        again = world.answers_received() & known
        assert not again, f"after {ended.struck}: paid twice: {again}"
        lines = results_of(world.output)
        assert {line["id"] for line in lines} == {record["id"] for record in records}
        assert all(line["status"] == "ok" for line in lines)
    assert at > 30


def test_the_message_names_the_rescue_file_and_the_way_to_put_it_back(
    bench: Bench, provider: Provider, quick: Path
) -> None:
    world = World(bench, provider, quick)
    records = [{"id": f"told.{i}", "prompt": f"told.{i}"} for i in range(6)]
    for at in range(1, 60):
        ended = world.run(records, "--overwrite", trap=world.trap(at, errno.ENOSPC, for_good=True))
        if any(world.rescue.iterdir()):
            break
    (rescued,) = world.rescue.iterdir()
    assert ended.code == 6
    assert str(rescued) in ended.stderr
    assert f"cat {rescued} >> {world.output}.state/redo.jsonl" in ended.stderr
    assert json.loads(rescued.read_bytes().split(b"\n")[0])["status"] == "ok"
