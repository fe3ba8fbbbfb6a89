"""A disk that is really full: a small tmpfs where a test may mount one, and a limit on the size of files everywhere."""

import shlex
import subprocess

import pytest

from tests.torture.bench import LLMBATCH, World, results_of, write_records

META = "m" * 200_000
"""Makes lines so long that the results file is what does not fit, not what is kept beside it."""
LIMIT = 1_000_000


def records(*names: str) -> list[dict[str, str]]:
    return [{"id": name, "prompt": name, "meta": META} for name in names]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 200_400, "end"])
def test_a_file_that_may_not_grow_ends_in_a_whole_line_wherever_the_limit_falls(world: World, at: int | str) -> None:
    names = [f"g{at}.{number}" for number in range(9)]
    assert world.run(records(*names[:5]), largest=None).code == 0
    size = world.output.stat().st_size
    world.answers_received()
    limit = size + (at if isinstance(at, int) else len(world.output.read_bytes().splitlines()[0]))
    ended = world.run(records(*names), largest=limit)
    assert ended.code == 6 and "File too large" in ended.stderr
    assert world.output.stat().st_size <= limit and world.output.read_bytes().endswith(b"\n")
    received = world.answers_received()
    assert received and received <= world.answers_kept()
    assert next(world.rescue.iterdir()).name in ended.stderr
    world.put_back()
    assert world.run(records(*names)).code == 0
    assert not received & world.answers_received(), "what was put back is not asked again"
    assert world.results().keys() == set(names)


def can_mount() -> bool:
    """Say whether this user may mount a tmpfs in a namespace of his own."""
    try:
        mount = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        return False


ROOM = ["size=700k", "size=160k", "nr_inodes=5", "nr_inodes=8"]
"""Of blocks, some, or hardly enough to begin; of names, those of a state folder one by one."""


@pytest.mark.parametrize("room", ROOM)
def test_on_a_full_disk_nothing_is_lost_and_with_room_the_next_run_completes(world: World, room: str) -> None:
    names = [f"t{room}{number}" for number in range(9)]
    write_records(world.source, [world.own(record) for record in records(*names)])
    command = [LLMBATCH, "run", world.source, *world.to_provider, "-o", world.output, "-c", 2, "-b", 2]
    run = shlex.join(map(str, [*command, "--rescue-dir", world.rescue]))
    kept, rescue, redo = (shlex.quote(str(path)) for path in (world.folder / "kept", world.rescue, world.redo))
    disk = shlex.quote(str(world.disk))
    script = f"""
        mount -t tmpfs -o {room} none {disk}
        {run} 2> {kept}.said; echo $? > {kept}.code
        cp -r {disk} {kept}
        mount -o remount,size=64m,nr_inodes=1000 {disk}
        for file in $(ls {rescue}/*); do cat "$file" >> {redo}; done
        {run} 2> {kept}.last; echo $? > {kept}.code2
        cp {disk}/out.jsonl {kept}.jsonl
    """
    done = subprocess.run(["unshare", "-Urm", "bash", "-c", script], capture_output=True, text=True)
    said = (world.folder / "kept.said").read_text()
    assert int((world.folder / "kept.code").read_text()) == 6, said
    assert "No space left" in " ".join(said.split()) and "Traceback" not in said
    lines = results_of(world.folder / "kept" / "out.jsonl")
    billed = world.billed()
    assert all(count == 1 for count in billed.values()), "nothing is asked for twice, that shows what is lost"
    rescued = {line["id"] for file in world.rescue.iterdir() for line in results_of(file)}
    assert rescued or room != "size=700k"
    assert (world.folder / "kept.code2").read_text().strip() == "0", done.stderr
    assert {line["id"] for line in results_of(world.folder / "kept.jsonl")} == set(names)
    assert {line["id"] for line in lines} <= set(names)


if not can_mount():
    del test_on_a_full_disk_nothing_is_lost_and_with_room_the_next_run_completes  # the limit stands in for it
