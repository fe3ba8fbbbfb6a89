"""Every operation on a file fails once, or from then on: nothing received is lost, and the next run completes."""

import errno
import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.deep import every
from tests.torture.bench import Bench, Ended, Provider, World, results_of
from tests.torture.trap import Trap


def check(world: World, ended: Ended, before: set[str]) -> None:
    """What must hold however a disk fails."""
    received = world.answers_received() | before
    assert ended.code in (0, 1, 2, 6), f"{ended.struck}: {ended.code}: {ended.stderr}"
    assert "Traceback" not in ended.stderr
    assert received <= world.answers_kept(), f"{ended.struck}: lost {received - world.answers_kept()}: {ended.stderr}"
    if ended.code == 6:
        assert ended.stderr.strip(), "no word about what is where"


HOW = pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])


def kind(at: int, for_good: bool) -> int:
    """Return the error of an operation: a broken and a full disk in turns, so that each has half of the operations."""
    return (errno.EIO, errno.ENOSPC)[(at + for_good) % 2]


@HOW
def test_a_first_run_loses_nothing_wherever_the_disk_fails(
    bench: Bench, provider: Provider, quick: Path, for_good: bool
) -> None:
    for at in count(1, every(5)):
        world = World(bench, provider, quick / str(at))
        records = [{"id": f"{for_good}.{at}.{i}", "prompt": f"{for_good}.{at}.{i}"} for i in range(4)]
        provider.new_entries()
        ended = world.run(records, trap=world.trap(at, kind(at, for_good), for_good=for_good))
        if ended.struck is None:
            assert ended.code == 0 and at > 20
            break
        check(world, ended, set())
        and_completes(world, records, ended)


@HOW
def test_a_resume_with_lines_to_merge_loses_nothing_wherever_the_disk_fails(
    bench: Bench, provider: Provider, quick: Path, for_good: bool
) -> None:
    records = [{"id": f"merge.{for_good}.{i}", "prompt": f"merge.{for_good}.{i}"} for i in range(4)]
    for record in records[::2]:
        record["prompt"] += " [[mock:status code=400 times=1]]"
    begun = World(bench, provider, quick / "begun", str(quick))
    provider.new_entries()
    assert begun.run(records).code == 1
    before = begun.answers_received()
    for at in count(1, every(5)):
        shutil.copytree(begun.folder, quick / str(at))
        world = World(bench, provider, quick / str(at), str(quick))
        ended = world.run(records, trap=world.trap(at, kind(at, for_good), for_good=for_good))
        if ended.struck is None:
            assert ended.code == 0 and at > 30
            break
        check(world, ended, before)
        and_completes(world, records, ended)


def and_completes(world: World, records: list[dict[str, Any]], ended: Ended) -> None:
    """The next run, on a disk that works, comes to an end, and pays for no answer again."""
    known = world.answers_kept()
    world.put_back()
    last = world.run(records)
    assert last.code == 0, f"after {ended.struck}: {last.stderr}"
    again = world.answers_received() & known
    assert not again, f"after {ended.struck}: paid twice: {again}"
    lines = results_of(world.output)
    assert {line["id"] for line in lines} == {record["id"] for record in records}
    assert all(line["status"] == "ok" for line in lines)


def test_the_message_names_the_rescue_file_and_the_way_to_put_it_back(world: World) -> None:
    records = [{"id": f"told.{i}", "prompt": f"told.{i}"} for i in range(4)]
    for at in range(1, 60):
        ended = world.run(records, "--overwrite", trap=world.trap(at, errno.ENOSPC, for_good=True))
        if any(world.rescue.iterdir()):
            break
    (rescued,) = world.rescue.iterdir()
    assert ended.code == 6
    assert str(rescued) in ended.stderr
    assert f"cat {rescued} >> {world.redo}" in ended.stderr
    assert json.loads(rescued.read_bytes().split(b"\n")[0])["status"] == "ok"


@pytest.mark.parametrize("at", [4, 5], ids=["of the intents", "of the results"])
def test_a_sync_that_stalls_for_three_seconds_delays_and_does_no_harm(world: World, at: int) -> None:
    names = [f"s{at}.{number}" for number in range(8)]
    trap = Trap(at=at, stall=3.0, only="fdatasync", folder=str(world.disk))
    # Were anything else kept waiting, the requests in flight would run into their time-out and be sent again.
    ended = world.run([{"id": name, "prompt": name} for name in names], "--timeout", 1, trap=trap)
    assert ended.code == 0, ended.stderr
    assert sorted(world.asked()) == names
    assert all("possibly_billed" not in line for line in world.results().values())
