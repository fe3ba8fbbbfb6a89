"""A part is worked on by one worker, also where locks do not reach over machines."""

import json
import os
import threading
from pathlib import Path

import pytest

from llmbatch.core.errors import OutputBusy
from llmbatch.parts import claim as claims
from llmbatch.parts.claim import EXPIRES, claimed


def foreign(path: Path, age: float, **changes: object) -> None:
    """Write the claim of another worker, renewed so long ago."""
    owner = claims._owner() | {"host": "node-7", "pid": 1} | changes
    path.write_text(json.dumps(owner))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def test_a_claim_is_held_while_the_work_lasts(tmp_path: Path) -> None:
    path = tmp_path / "part.claim"
    with claimed(path, tmp_path / "part.jsonl"):
        assert json.loads(path.read_bytes())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("age", "changes", "busy"),
    [
        (0.0, {}, True),
        (EXPIRES - 30, {}, True),
        (EXPIRES + 1, {}, False),
        (0.0, {"host": claims._owner()["host"], "pid": 1, "began": claims._began(1)}, True),
        (EXPIRES * 9, {"host": claims._owner()["host"], "pid": 1, "began": claims._began(1)}, True),  # it may be slow
        (0.0, {"host": claims._owner()["host"], "pid": 1, "began": "7"}, False),  # another process has its number
        (0.0, {"host": claims._owner()["host"], "pid": 2**22 + 1}, False),  # its process is gone
        (0.0, {"host": claims._owner()["host"], "pid": 2**22 + 1, "boot": "another"}, True),
    ],
)
def test_a_claim_is_taken_over_when_its_owner_is_gone(
    tmp_path: Path, age: float, changes: dict[str, object], busy: bool
) -> None:
    path = tmp_path / "part.claim"
    foreign(path, age, **changes)
    if busy:
        with pytest.raises(OutputBusy, match=r"held by another run: process \d+"), claimed(path, path):
            pass
        assert path.exists()
    else:
        with claimed(path, path):
            assert json.loads(path.read_bytes())["pid"] == os.getpid()


def test_of_many_who_take_over_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.claim"
    foreign(path, EXPIRES + 1)
    numbers = iter(range(10))
    mine = threading.local()

    def owner() -> dict[str, object]:
        mine.host = getattr(mine, "host", None) or f"node-{next(numbers)}"
        return {"host": mine.host, "boot": "b", "processes": "", "pid": 1, "began": ""}

    monkeypatch.setattr(claims, "_owner", owner)
    holders: list[str] = []
    done, barrier = threading.Event(), threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        try:
            with claimed(path, path):
                holders.append(mine.host)
                done.wait(10)
        except OutputBusy:
            pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads[:]:
        thread.join(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert len(holders) == 1


def test_a_claim_that_was_taken_over_is_not_removed_by_its_old_owner(tmp_path: Path) -> None:
    path = tmp_path / "part.claim"
    with claimed(path, path):
        foreign(path, 0.0)
    assert json.loads(path.read_bytes())["host"] == "node-7"
