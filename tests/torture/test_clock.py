"""A clock that jumps back: what is done stays done, and nothing waits for the past."""

import json

from tests.torture.bench import World, prompts


def test_a_wall_clock_that_jumps_back_changes_nothing(world: World) -> None:
    asked = prompts("a", "b [[mock:status code=400 times=1]]", "c", "d [[mock:status code=503 retry-after=0 times=1]]")
    assert world.run(asked, clock=True).code == 1
    before = world.output.read_bytes().splitlines(keepends=True)
    started = [json.loads(line)["started_at"] for line in before]
    assert len({time[:10] for time in started}) == 4, "the clock was turned back"
    assert all(json.loads(line)["latency_s"] >= 0 for line in before)
    world.asked()
    # Torn twice, so that two pieces of different times are moved.
    for torn in (b'{"id":"e","in', b'{"id":"e","index":4'):
        with world.output.open("ab") as file:
            file.write(torn)
        assert world.run([*asked, *prompts("e")], "--in-doubt", "hold", clock=True).code == 7
    assert len(list(world.state.glob("torn-*.bin"))) == 2
    assert world.asked() == ["b"]
    # What the last run was asked counts, not the one with the latest date.
    assert world.run(asked, "--temperature", "1", "--changed", "rerun", clock=True).code == 0
    world.asked()
    assert world.run(asked, "--temperature", "1", stdin=True, clock=True).code == 0 and world.asked() == []
    assert world.run(asked, stdin=True, clock=True).code == 2 and world.asked() == []


def test_a_run_that_is_killed_while_the_clock_jumps_back_is_continued(world: World) -> None:
    asked = prompts(*(f"k{number}" for number in range(6)))
    ended = world.run(asked, trap=world.trap(45), clock=True)
    assert ended.killed
    done = {line["id"] for line in map(json.loads, world.output.read_bytes().splitlines()[:-1])}
    billed = world.billed()
    last = world.run(asked, clock=True)
    assert last.code == 0 and world.results().keys() == {record["id"] for record in asked}
    again = world.billed()
    assert not done & again.keys()
    for id, line in world.results().items():
        assert billed[id] + again[id] - 1 <= line.get("possibly_billed", 0)
