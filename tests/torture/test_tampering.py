"""Somebody moves, replaces, deletes or cuts the files of a run that is going on: it ends, and loses nothing it has."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.bench import World, holder, prompts, results_of


def deleted(world: World) -> None:
    world.output.unlink()


def replaced(world: World) -> None:
    other = world.disk / "other"
    other.write_bytes(b"name,age\n")
    other.replace(world.output)


def rotated(world: World) -> None:
    world.output.rename(world.disk / "out.jsonl.1")


def cut(world: World) -> None:
    os.truncate(world.output, world.output.stat().st_size // 2)


def appended(world: World) -> None:
    with world.output.open("ab") as file:
        file.write(b"{}\n")


def state_deleted(world: World) -> None:
    shutil.rmtree(world.state)


def state_replaced(world: World) -> None:
    world.state.rename(world.disk / "old")
    world.state.mkdir()


def all_deleted(world: World) -> None:
    shutil.rmtree(world.disk)


ON_FILE = [deleted, replaced, rotated, cut, appended, all_deleted]


@pytest.mark.parametrize("tamper", [*ON_FILE, state_deleted, state_replaced])
def test_a_run_whose_files_are_tampered_with_ends_and_can_be_continued(
    world: World, tamper: Callable[[World], None]
) -> None:
    names = ["first", *(f"n{number}" for number in range(60))]
    with holder(world, "-b", 1, "-c", 1, "--rescue-dir", world.rescue, told=True) as run:
        assert run.stdin is not None and run.stderr is not None
        tamper(world)
        records = [json.dumps(record).encode() + b"\n" for record in prompts(*names)]
        run.stdin.write(b"".join(records[1:]))
        run.stdin.close()
        assert run.wait(20) == 6
        said = run.stderr.read().decode()
    assert "Traceback" not in said and "during the run" in said and str(world.disk) in said
    billed = world.billed()
    assert sum(billed.values()) < len(names), "the run went on"
    world.disk.mkdir(exist_ok=True)
    _do_as_told(world, tamper, said)
    ended = world.run(b"".join(records))
    assert ended.code == 0, ended.stderr
    assert world.results().keys() == set(names)
    again = world.billed().keys() & billed.keys()
    assert again == ({"first"} if tamper is cut else set()), "what was received is not asked again"
    assert not world.redo.exists()


@pytest.mark.parametrize("tamper", ON_FILE)
def test_it_is_noticed_even_when_nothing_follows(world: World, tamper: Callable[[World], None]) -> None:
    with holder(world, "--rescue-dir", world.rescue, told=True) as run:
        assert run.stdin is not None and run.stderr is not None
        tamper(world)
        run.stdin.close()
        assert run.wait(20) == 6
        said = run.stderr.read().decode()
    assert "during the run" in said and "Traceback" not in said
    moved = world.disk / "out.jsonl.1"
    kept = {line["id"] for path in (moved, *world.rescue.iterdir()) for line in results_of(path)}
    assert tamper in (cut, appended) or kept == {"first"}


def _do_as_told(world: World, tamper: Callable[[World], None], said: str) -> None:
    """Follow the message to the letter, as far as it leaves no choice."""
    words = " ".join(said.split())
    if tamper is rotated:
        assert f"moved to {world.output}.1" in words
        Path(f"{world.output}.1").rename(world.output)
    elif tamper is replaced:
        assert "ove away what is there now" in words, said
        world.output.rename(world.disk / "away")
    elif tamper is appended:
        lines = world.output.read_bytes().splitlines(keepends=True)
        world.output.write_bytes(b"".join(line for line in lines if line != b"{}\n"))
    elif tamper is state_replaced:
        world.state.rmdir()
        (world.disk / "old").rename(world.state)
    commands = re.search(r"ut them back: (.*?); then run the same command again", words)
    if commands is not None:
        subprocess.run(["bash", "-ec", commands[1]], check=True)
