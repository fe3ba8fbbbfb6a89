"""A short kill loop for every test run; the long one is `make torture`."""

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.deep import DEEP, every
from tests.torture.bench import KILLED, Bench, Provider, World, results_of
from tests.torture.loop import torture

PACKED = ("--endpoint", "embeddings", "--pack", "2")


def test_kills_lose_nothing_and_pay_nothing_twice_unreported() -> None:
    kills = 64 if DEEP else 24
    found = torture(kills, seed=2)
    assert sum(count.kills for count in found.values()) >= kills
    assert found["hold"].wrong + found["retry"].wrong == []
    assert found["hold"].lost == found["retry"].lost == found["hold"].twice == 0
    assert found["retry"].twice <= found["retry"].reported


def test_a_resume_may_be_killed_again_and_again() -> None:
    found = torture(16, records=20, seed=1, most=8)
    assert found["hold"].wrong + found["retry"].wrong == []


@pytest.mark.parametrize(
    ("policy", "begun", "more"),
    [("hold", False, ()), ("hold", True, ()), ("retry", True, ()), ("hold", False, PACKED)],
    ids=["first run", "resume under hold", "resume", "packed requests"],
)
def test_a_run_may_be_killed_at_every_operation(
    bench: Bench, provider: Provider, quick: Path, policy: str, begun: bool, more: tuple[str, ...]
) -> None:
    names = [f"{policy}{begun}{number}" for number in range(4)]
    for at in count(1, every(5)):
        first = World(bench, provider, quick / f"{at}")
        records: list[dict[str, Any]] = [{"id": name, "prompt": name} for name in names]
        if begun:
            for record in records[::2]:
                record["prompt"] += " [[mock:status code=400 times=1]]"
            assert first.run(records, *more).code == 1
        billed = first.billed()
        known = {line["id"] for line in results_of(first.output) if line["status"] == "ok"}
        ended = first.run(records, *more, "--in-doubt", policy, trap=first.trap(at))
        if ended.code != KILLED:
            assert ended.code == 0 and at > 20
            break
        billed += first.billed()
        assert known <= first.answers_kept(), f"killed at {ended.struck} {at}"
        last = first.run(records, *more, "--in-doubt", policy)
        billed += first.billed()
        lines = first.results()
        missing = set(names) - {id for id, line in lines.items() if line["status"] == "ok"}
        assert last.code == (7 if missing else 0), f"killed at {ended.struck} {at}: {last.stderr}"
        assert policy == "hold" or not missing
        for name in names:
            reported = lines[name].get("possibly_billed", 0) if policy == "retry" else 0
            assert billed[name] - 1 <= reported, (
                f"killed at {ended.struck} {at}: {name} was billed {billed[name]} times"
            )
        shutil.rmtree(first.folder)
