"""Every way of going on with a results file that the contract names, one by one."""

import json
import os
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.deep import every
from tests.support.forked_command import start
from tests.torture.bench import ENVIRONMENT, World, holder, prompts, results_of


def state_of(world: World) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in world.disk.rglob("*")
        if path.is_file() and path.name not in ("lock", "stderr")
    }


# What is there.


def test_with_nothing_to_do_nothing_is_sent_and_nothing_changes(world: World) -> None:
    assert world.run(prompts("a", "b", "c")).code == 0
    before, _ = world.output.read_bytes(), world.asked()
    ended = world.run(prompts("a", "b", "c"))
    assert ended.code == 0 and world.asked() == [] and world.output.read_bytes() == before
    assert "3 done, 0 to send" in ended.stderr


def test_what_is_missing_is_sent_and_what_failed_is_tried_again_in_its_place(world: World) -> None:
    asked = prompts("a", "b [[mock:status code=400 times=1]]", "c")
    assert world.run(asked).code == 1
    world.asked()
    ended = world.run([*asked, *prompts("d")])
    assert ended.code == 0 and sorted(world.asked()) == ["b", "d"]
    assert [line["id"] for line in results_of(world.output)].index("b") < 3
    assert {line["status"] for line in world.results().values()} == {"ok"}
    assert "2 to send, 1 of them sent again" in ended.stderr
    assert not world.redo.exists()


def test_keep_failed_keeps_failures(world: World) -> None:
    asked = prompts("a", "b [[mock:status code=400 times=1]]")
    world.run(asked)
    world.asked()
    assert world.run(asked, "--keep-failed").code == 1
    assert world.asked() == []


def test_a_failure_that_was_paid_for_is_sent_again_only_when_told(world: World) -> None:
    asked = prompts("a", "paid [[mock:html times=1]]")
    assert world.run(asked).code == 1
    assert world.results()["paid"]["billed"]
    world.asked()
    assert world.run(asked).code == 1 and world.asked() == []
    assert world.run(asked, "--retry-billed").code == 0 and world.asked() == ["paid"]
    assert world.results()["paid"]["status"] == "ok"


def test_redo_sends_failures_of_some_kinds_and_named_ids_again(world: World, tmp_path: Path) -> None:
    asked = prompts("a", "b", "bad [[mock:status code=400 times=1]]", "paid [[mock:html times=1]]")
    world.run(asked)
    world.asked()
    assert world.run(asked, "--redo", "unparsable").code == 1 and world.asked() == ["paid"]
    (tmp_path / "ids").write_text("b\n")
    ended = world.run(asked, "--redo", f"@{tmp_path / 'ids'}", "--dedupe")
    assert ended.code == 1 and world.asked() == ["b"], "answered or not, and not from what was answered before"
    assert world.run(asked, "--redo", "none", "--retry-billed").code == 2
    assert world.run(asked).code == 0 and world.asked() == ["bad"]


def test_an_answer_in_whose_place_a_failure_comes_is_kept_and_can_be_reused(world: World, tmp_path: Path) -> None:
    asked = prompts("a [[mock:text times=1 value=good]] [[mock:status code=400]]", "b")
    assert world.run(asked).code == 0
    before = world.results()["a"]
    (tmp_path / "ids").write_text("a\n")
    ended = world.run(asked, "--redo", f"@{tmp_path / 'ids'}")
    assert ended.code == 1 and world.results()["a"]["status"] == "failed"
    (kept,) = world.state.glob("replaced-*.jsonl")
    assert str(kept) in " ".join(ended.stderr.split()).replace("- ", "-") and results_of(kept) == [before]
    world.asked()
    assert world.run(asked, "--reuse", kept).code == 0 and world.asked() == []
    assert world.results()["a"]["text"] == "good"
    (tmp_path / "ids").write_text("b\n")
    assert world.run(asked, "--redo", f"@{tmp_path / 'ids'}").code == 0
    assert [*world.state.glob("replaced-*.jsonl")] == [kept], "an answer replaces an answer"


def test_an_edited_record_is_sent_again_and_its_line_replaced(world: World) -> None:
    world.run(prompts("a", "b", "c"))
    world.asked()
    edited = [*prompts("a"), {"id": "b", "prompt": "better"}, *prompts("c")]
    ended = world.run(edited)
    assert ended.code == 0 and world.asked() == ["better"]
    assert [line["id"] for line in results_of(world.output)].count("b") == 1
    assert "1 to send, 1 of them edited" in ended.stderr
    world.run(edited)
    assert world.asked() == []


def test_a_mass_edit_stops_before_anything_is_sent(world: World) -> None:
    world.run(prompts(*(f"m{i}" for i in range(25))))
    world.asked()
    edited = [{"id": f"m{i}", "prompt": f"other{i}"} for i in range(25)]
    before = world.output.read_bytes()
    ended = world.run(edited)
    assert ended.code == 2 and world.asked() == [] and world.output.read_bytes() == before
    assert "25 of the 25" in ended.stderr and "--changed rerun" in ended.stderr
    kept = world.run(edited, "--changed", "keep")
    assert kept.code == 0 and world.asked() == [] and "25 done, 0 to send" in kept.stderr
    assert world.run(edited, "--changed", "rerun").code == 0 and len(world.asked()) == 25


@pytest.mark.parametrize("stdin", [False, True], ids=["from a file", "from stdin"])
def test_changed_options_stop_with_the_difference_and_nothing_sent(world: World, stdin: bool) -> None:
    world.run(prompts("a", "b"), stdin=stdin)
    world.asked()
    before = state_of(world)
    ended = world.run(prompts("a", "b"), "--temperature", "0.5", stdin=stdin)
    assert ended.code == 2 and world.asked() == []
    assert "param temperature: none before, 0.5 now" in ended.stderr and "--changed rerun" in ended.stderr
    assert {name: data for name, data in state_of(world).items() if name in ("out.jsonl", "runs.jsonl")} == {
        name: data for name, data in before.items() if name in ("out.jsonl", "runs.jsonl")
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model", ("-m", "other")),
        ("max_tokens", ("--max-tokens", "7")),
        ("param seed", ("--param", "seed=1")),
        ("override top_p", ("--override", "top_p=1")),
        ("system", ("--system", "Be brief.")),
        ("template", ("--template", "Say {{ prompt }}")),
        ("template", ("--template", "@template.txt")),
    ],
)
def test_every_option_that_answers_depend_on_is_named_when_it_changed(
    world: World, option: str, value: tuple[str, str]
) -> None:
    template = world.disk / "template.txt"
    template.write_text("Say {{ prompt }}")
    before = value if "@" in value[1] else ()
    assert world.run(prompts("a", "b"), *before).code == 0
    template.write_text("Tell {{ prompt }}")
    world.asked()
    ended = world.run(prompts("a", "b", "c"), *value)
    assert ended.code == 2 and world.asked() == []
    assert f"({option}" in ended.stderr and "; nothing was sent" in " ".join(ended.stderr.split())


def test_options_that_answers_do_not_depend_on_are_free_to_change(world: World) -> None:
    assert world.run(prompts("a", "b")).code == 0
    world.asked()
    more = ("-c", 7, "-b", 9, "--timeout", 5, "--retries", 0, "--fsync", "always", "--in-doubt", "hold", "--rpm", 999)
    assert world.run(prompts("a", "b", "c"), *more).code == 0
    assert world.asked() == ["c"]


def test_options_that_show_to_be_changed_only_amid_stdin_are_told_truthfully(world: World) -> None:
    world.run(prompts("a", "b"))
    shutil.rmtree(world.state)  # and with it what the options were
    world.asked()
    new = [f"n{number}" for number in range(6)]
    ended = world.run(prompts("a", *new), "--temperature", "0.5", stdin=True)
    assert ended.code == 2 and world.asked() == [] and "nothing was sent" in ended.stderr
    before = world.output.read_bytes()
    shutil.rmtree(world.state)
    ended = world.run(prompts(*new, "a", "m"), "--temperature", "0.5", stdin=True)
    assert ended.code == 4 and set(world.asked()) <= set(new)
    assert "record 6 showed it, and from there on nothing was sent" in ended.stderr
    assert "--changed rerun" in ended.stderr and world.output.read_bytes().startswith(before)
    assert world.run(prompts(*new, "a", "m"), "--temperature", "0.5", "--changed", "keep").code == 0
    assert world.results().keys() == {"a", "b", *new, "m"}


def test_changed_keep_is_remembered_and_rerun_asks_everything_again(world: World) -> None:
    world.run(prompts("a", "b"))
    world.asked()
    assert world.run(prompts("a", "b", "c"), "--temperature", "1", "--changed", "keep").code == 0
    assert world.asked() == ["c"]
    assert world.run(prompts("a", "b", "c", "d"), "--temperature", "1").code == 0
    assert world.asked() == ["d"]
    assert world.run(prompts("a", "b", "c", "d"), "--temperature", "1", "--changed", "rerun").code == 0
    assert sorted(world.asked()) == ["a", "b"]
    assert len(results_of(world.output)) == 4


def test_a_changed_address_is_told_and_no_more(world: World) -> None:
    world.run(prompts("a"))
    header = json.loads(world.state.joinpath("runs.jsonl").read_bytes().split(b"\n")[-2])
    header["address"] = "https://elsewhere.example/v1"
    world.state.joinpath("runs.jsonl").write_text(json.dumps(header) + "\n")
    world.asked()
    ended = world.run(prompts("a"))
    assert ended.code == 0 and world.asked() == []
    assert "https://elsewhere.example/v1 before" in ended.stderr


def test_lines_without_a_record_are_counted_and_kept_until_pruned(world: World) -> None:
    world.run(prompts("a", "b", "c"))
    ended = world.run(prompts("b", "d"))
    assert ended.code == 0 and "2 lines without a record in the input" in ended.stderr
    assert world.results().keys() == {"a", "b", "c", "d"}
    world.asked()
    asked = prompts("e", "b", "f", "d [[mock:status code=400 times=1]]")
    assert world.run(asked, "--prune", "--ordered").code == 1
    assert [line["id"] for line in results_of(world.output)] == ["e", "b", "f", "d"]
    (pruned,) = world.state.glob("pruned-*.jsonl")
    assert {line["id"] for line in results_of(pruned)} == {"a", "c"}
    assert sorted(world.asked()) == ["d", "e", "f"]
    assert world.run(asked).code == 0 and world.asked() == ["d"]


@pytest.mark.parametrize("of_other_records", [b"", b'{"id":"z","prompt":"z"}\n'], ids=["empty", "another one"])
def test_an_input_without_any_of_the_records_prunes_none(world: World, of_other_records: bytes) -> None:
    asked = prompts("a", "b", "c")
    assert world.run(asked).code == 0
    world.asked()
    ended = world.run(of_other_records, "--prune", stdin=True)
    assert ended.code == 0 and "--prune moved nothing" in ended.stderr
    assert world.run(asked).code == 0 and not {"a", "b", "c"} & set(world.asked())


def test_overwrite_starts_anew(world: World) -> None:
    world.run(prompts("a", "b"))
    world.asked()
    assert world.run(prompts("a"), "--overwrite").code == 0
    assert world.asked() == ["a"] and world.results().keys() == {"a"}


def test_killed_anywhere_a_run_that_overwrites_leaves_old_answers_or_new_ones(world: World) -> None:
    world.run(prompts("a", "b"))
    for at in count(1, every(5)):
        killed = world.run(prompts("a", "b"), "--overwrite", trap=world.trap(at))
        world.asked()
        ended = world.run(prompts("a", "b"))
        assert ended.code == 0 and world.results().keys() == {"a", "b"}, f"killed at {at}: {ended.stderr}"
        assert len(world.asked()) <= 1, f"killed at {at}, {killed.struck}: neither old nor new answers were there"
        if killed.struck is None:
            assert at > 30
            break


@pytest.mark.parametrize("word", ["status code=401", "status code=400"])
def test_a_run_that_overwrites_and_is_stopped_without_an_answer_brings_the_old_ones_back(
    world: World, word: str
) -> None:
    world.run(prompts("a", "b"))
    before = world.output.read_bytes()
    refused = [{"id": f"r{n}", "prompt": f"r{n} [[mock:{word} times=9]]"} for n in range(4)]
    ended = world.run(refused, "--overwrite")
    if word == "status code=401":
        assert ended.code == 4 and world.output.read_bytes() == before, ended.stderr
    else:
        assert ended.code == 1 and len(world.results()) == 4, "a complete run of failures is what was asked for"


def test_what_a_run_that_overwrites_left_in_doubt_is_held_when_the_old_results_are_back(world: World) -> None:
    world.run(prompts("a"))
    both = prompts("a", "slow [[mock:hang]]")
    world.asked()
    with run_apart(world, ["slow [[mock:hang]]"], "--overwrite") as run:
        while not in_flight(world):
            assert run.poll() is None
        run.kill()
    held = world.run(both, "--in-doubt", "hold")
    assert held.code == 7 and "the old results are back" in held.stderr
    assert world.run(both, "--in-doubt", "hold").code == 7
    assert world.asked() in ([], ["slow"]), "it was sent at most once, before the run was killed"
    assert world.results().keys() == {"a"}


def test_input_on_stdin_is_continued_too(world: World) -> None:
    world.run(prompts("a", "b"), stdin=True)
    world.asked()
    ended = world.run(prompts("a", "b", "c"), stdin=True)
    assert ended.code == 0 and world.asked() == ["c"] and "2 done, 0 failed" in ended.stderr


def test_repeated_ids_and_unusable_records_are_not_told_twice(world: World) -> None:
    lines = b'{"id":"a","prompt":"a"}\n{"id":"a","prompt":"again"}\nno json\nno json\n{"id":"b"}\n'
    assert world.run(lines).code == 1
    before = world.output.read_bytes()
    assert len(before.splitlines()) == 5
    world.asked()
    assert world.run(lines).code == 1
    assert world.asked() == [] and world.output.read_bytes() == before


def test_reordered_lines_without_ids_keep_their_answers(world: World) -> None:
    world.run([{"prompt": "x"}, {"prompt": "y"}, {"prompt": "x"}])
    assert sorted(world.asked()) == ["x", "x", "y"]
    assert world.run([{"prompt": "y"}, {"prompt": "new"}, {"prompt": "x"}, {"prompt": "x"}]).code == 0
    assert world.asked() == ["new"]


def test_a_file_is_ordered_when_the_run_completes(world: World) -> None:
    asked = prompts("slow [[mock:echo after=0.1]]", "a", "b", "c")
    world.run(asked, "--ordered")
    assert [line["index"] for line in results_of(world.output)] == [0, 1, 2, 3]


@pytest.mark.parametrize("fsync", ["always", "never"])
def test_every_kind_of_sync_ends_with_the_same_file(world: World, fsync: str) -> None:
    asked = prompts("a", "b", "c [[mock:status code=400 times=1]]")
    assert world.run(asked, "--fsync", fsync).code == 1
    assert world.run(asked, "--fsync", fsync).code == 0
    assert world.results().keys() == {"a", "b", "c"}


def test_the_mode_of_a_file_outlives_a_merge(world: World) -> None:
    asked = prompts("a", "b [[mock:status code=400 times=1]]")
    world.run(asked)
    assert world.output.stat().st_mode & 0o777 == 0o600 and world.state.stat().st_mode & 0o777 == 0o700
    world.output.chmod(0o644)
    assert world.run(asked).code == 0
    assert world.output.stat().st_mode & 0o777 == 0o644


# What a crash leaves.


def test_a_whole_last_line_without_newline_gets_one(world: World) -> None:
    world.run(prompts("a", "b"))
    whole = world.output.read_bytes()
    world.output.write_bytes(whole[:-1])
    world.asked()
    assert world.run(prompts("a", "b")).code == 0
    assert world.output.read_bytes() == whole and world.asked() == []


@pytest.mark.parametrize("junk", [b"", b"\0" * 600, b"\xff\xfe"], ids=["cut", "and zeros", "and junk"])
def test_a_torn_last_line_is_moved_and_its_record_is_in_doubt(world: World, junk: bytes) -> None:
    world.run(prompts("a", "b"))
    first, second, _ = world.output.read_bytes().split(b"\n")
    torn = second[:40] + junk
    world.output.write_bytes(first + b"\n" + torn)
    world.asked()
    held = world.run(prompts("a", "b"), "--in-doubt", "hold")
    assert held.code == 7 and world.asked() == []
    (moved,) = world.state.glob("torn-*.bin")
    assert moved.read_bytes() == torn and moved.name in held.stderr
    assert world.output.read_bytes() == first + b"\n"
    again = json.loads(second)["id"]
    assert world.run(prompts("a", "b")).code == 0 and world.asked() == [again]
    assert world.results()[again]["possibly_billed"] == 1


def test_a_torn_line_of_a_file_without_its_state_is_in_doubt_all_the_same(world: World) -> None:
    world.run(prompts("a", "b"))
    world.output.write_bytes(world.output.read_bytes()[:-60])
    for path in world.state.iterdir():
        path.unlink()
    world.state.rmdir()
    world.asked()
    ended = world.run(prompts("a", "b"), "--in-doubt", "hold")
    assert ended.code == 7 and world.asked() == []
    assert "what was in flight when the last run ended is not known" in ended.stderr


def test_a_torn_first_line_is_ours_but_a_foreign_one_is_not(world: World) -> None:
    world.output.write_bytes(b'{"id":"a","ind')
    assert world.run(prompts("a"), "--in-doubt", "hold").code == 7
    world.output.write_bytes(b"not ours, no newline")
    before = state_of(world)
    ended = world.run(prompts("a"))
    assert ended.code == 2 and "not a results file" in ended.stderr
    assert state_of(world)["out.jsonl"] == before["out.jsonl"]


def test_what_is_torn_or_broken_in_the_redo_file_is_kept(world: World) -> None:
    asked = prompts("a [[mock:status code=400 times=1]]", "b [[mock:status code=400 times=1]]")
    world.run(asked)
    world.run(asked)
    lines = world.output.read_bytes().splitlines()
    world.redo.write_bytes(lines[0] + b"\nbroken\n" + lines[1])
    world.asked()
    assert world.run(asked).code == 0 and world.asked() == []
    assert world.results().keys() == {"a", "b"}
    (moved,) = world.state.glob("broken-redo-*.jsonl")
    assert moved.read_bytes() == b"broken\n"
    world.redo.write_bytes(lines[0] + b"\n" + lines[1][:30])
    assert world.run(asked).code == 0
    assert [path.read_bytes() for path in world.state.glob("torn-*.bin")] == [lines[1][:30]]


def test_a_broken_line_in_the_middle_is_refused_by_number_and_moved_when_told(world: World) -> None:
    world.run(prompts("a", "b", "c"))
    lines = world.output.read_bytes().splitlines(keepends=True)
    world.output.write_bytes(lines[0] + b"\n" + lines[1][:50] + b"\n" + lines[2])
    before = state_of(world)
    world.asked()
    ended = world.run(prompts("a", "b", "c"))
    assert ended.code == 2 and "line 3 is not a result line" in ended.stderr and "--move-broken" in ended.stderr
    assert state_of(world) == before and world.asked() == []
    mended = world.run(prompts("a", "b", "c"), "--move-broken")
    assert mended.code == 0 and "1 broken line was moved to" in mended.stderr
    assert world.asked() == [json.loads(lines[1])["id"]]
    (moved,) = world.state.glob("broken-*.jsonl")
    assert moved.read_bytes() == lines[1][:50] + b"\n"


def test_a_broken_first_line_of_a_file_that_is_ours_is_like_any_other(world: World) -> None:
    world.run(prompts("a", "b", "c"))
    lines = world.output.read_bytes().splitlines(keepends=True)
    world.output.write_bytes(lines[0][1:] + lines[1] + lines[2])
    shutil.rmtree(world.state)
    before = world.output.read_bytes()
    world.asked()
    ended = world.run(prompts("a", "b", "c"))
    assert ended.code == 2 and "line 1 is not a result line" in ended.stderr and "--move-broken" in ended.stderr
    assert world.output.read_bytes() == before and not world.state.exists() and world.asked() == []
    assert world.run(prompts("a", "b", "c"), "--move-broken").code == 0
    assert world.asked() == [json.loads(lines[0])["id"]] and world.results().keys() == {"a", "b", "c"}
    (moved,) = world.state.glob("broken-*.jsonl")
    assert moved.read_bytes() == lines[0][1:]


def test_two_results_of_one_record_are_refused(world: World) -> None:
    world.run(prompts("a", "b"))
    lines = world.output.read_bytes()
    world.output.write_bytes(lines + lines.splitlines(keepends=True)[0])
    ended = world.run(prompts("a", "b"))
    assert ended.code == 2 and "line 3 is a second result" in ended.stderr


@pytest.mark.parametrize("more", [(), ("--move-broken",)], ids=["", "--move-broken"])
@pytest.mark.parametrize("content", [b"name,age\n1,2\n", b'{"id":1}\n', b'{"custom_id":"a","response":{}}\n', b"[1]\n"])
def test_a_foreign_file_is_refused_and_not_touched(world: World, content: bytes, more: tuple[str, ...]) -> None:
    world.output.write_bytes(content)
    ended = world.run(prompts("a"), *more)
    assert ended.code == 2 and "not a results file of llmbatch" in ended.stderr and "--overwrite" in ended.stderr
    assert world.output.read_bytes() == content and not world.state.exists()
    assert world.asked() == []


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n\n"])
def test_an_empty_file_is_as_good_as_none(world: World, content: bytes) -> None:
    world.output.write_bytes(content)
    assert world.run(prompts("a")).code == 0
    assert world.results().keys() == {"a"}


def test_a_state_directory_without_its_results_file_is_refused(world: World) -> None:
    world.run(prompts("a"))
    world.output.unlink()
    world.asked()
    ended = world.run(prompts("a"))
    assert ended.code == 2 and "--overwrite" in ended.stderr and world.asked() == []
    assert not world.output.exists()
    assert world.run(prompts("a"), "--overwrite").code == 0


def test_a_results_file_without_its_state_directory_is_continued(world: World) -> None:
    world.run(prompts("a", "b"))
    for path in world.state.iterdir():
        path.unlink()
    world.state.rmdir()
    world.asked()
    ended = world.run(prompts("a", "b", "c"))
    assert ended.code == 0 and world.asked() == ["c"]
    assert "what was in flight when the last run ended is not known" in ended.stderr


@pytest.mark.parametrize("name", ["runs.jsonl", "intents"])
def test_the_state_of_a_newer_version_is_refused(world: World, name: str) -> None:
    world.run(prompts("a"))
    path = world.state / name
    if name == "intents":
        path.write_bytes(b"llmbint9" + path.read_bytes()[8:])
    else:
        path.write_text('{"version": 99, "llmbatch": "9.0", "options": {}}\n')
    before = state_of(world)
    world.asked()
    ended = world.run(prompts("a", "b"))
    assert ended.code == 2 and world.asked() == [] and state_of(world) == before
    assert "version" in ended.stderr or "newer" in ended.stderr


# Who else is there.


@pytest.mark.parametrize("alias", ["same", "symlink", "hard link"])
def test_a_second_run_on_one_file_is_refused_and_told_of_the_first(world: World, alias: str) -> None:
    other = world.disk / "other.jsonl"
    with holder(world) as first:
        if alias == "symlink":
            other.symlink_to(world.output)
        elif alias == "hard link":
            other.hardlink_to(world.output)
        world.asked()
        ended = world.run(prompts("b"), output=world.output if alias == "same" else other)
        assert ended.code == 75 and world.asked() == []
        assert f"process {first.pid}" in ended.stderr
        assert not (world.disk / "other.jsonl.state").exists()


def test_the_lock_dies_with_its_owner(world: World) -> None:
    with holder(world) as first:
        first.kill()
        first.wait()
        assert world.run(prompts("first", "b")).code == 0


def test_a_symlinked_output_is_written_through(world: World) -> None:
    link = world.folder / "link.jsonl"
    link.symlink_to(world.output)
    asked = prompts("a", "b [[mock:status code=400 times=1]]")
    assert world.run(asked, output=link).code == 1
    assert world.run(asked, output=link).code == 0
    assert link.is_symlink() and world.results().keys() == {"a", "b"} and world.state.is_dir()


def test_a_state_folder_that_somebody_else_planted_is_not_used(world: World) -> None:
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    world.state.symlink_to(elsewhere)
    ended = world.run(prompts("a"))
    assert ended.code == 2 and "is a symbolic link" in ended.stderr and world.asked() == []
    world.state.unlink()
    world.state.mkdir()
    (world.state / "redo.jsonl").symlink_to(elsewhere / "planted")
    ended = world.run(prompts("a"))
    assert ended.code == 2 and "redo.jsonl is a symbolic link" in ended.stderr and world.asked() == []
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_not_a_file_is_refused(world: World, kind: str) -> None:
    path = world.disk / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/full")
    ended = world.run(prompts("a"), output=path)
    told = "is a folder" if kind == "folder" else "not a regular file"
    assert ended.code == 2 and told in ended.stderr and world.asked() == []


@pytest.mark.parametrize(
    ("path", "told"), [(Path("/proc/out.jsonl"), "cannot write"), (Path("none/out.jsonl"), "no folder none")]
)
def test_where_one_cannot_write_nothing_is_sent(world: World, path: Path, told: str) -> None:
    ended = world.run(prompts("a"), output=path)
    assert ended.code == 2 and told in ended.stderr and world.asked() == []


# How it ends.


def run_apart(world: World, names: list[str], *more: object, **how: Any) -> subprocess.Popen[bytes]:
    world.source.write_text("".join(json.dumps(world.own(record)) + "\n" for record in prompts(*names)))
    command = ["run", str(world.source), *world.to_provider, "-o", str(world.output), *map(str, more)]
    return start(command, env=ENVIRONMENT, stderr=subprocess.PIPE, **how)


def in_flight(world: World) -> bool:
    """Say whether a mark tells of a request that left."""
    with suppress(FileNotFoundError):
        return any(1 in marks.read_bytes() for marks in world.state.glob("marks-?"))
    return False


def test_one_interrupt_leaves_nothing_in_doubt_and_two_leave_what_was_in_flight(world: World) -> None:
    names = [f"i{number} [[mock:echo after=0.3]]" for number in range(8)]
    with run_apart(world, names, "-c", 2) as process:
        while b'"i0"' not in (world.output.read_bytes() if world.output.exists() else b""):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    done = world.results().keys()
    assert len(done) >= 2 and set(world.asked()) == done
    left = [name for name in names if name.split(" ")[0] not in done]
    names = [name.replace("0.3", "5") if name in left[:2] else name for name in names]  # these two are sent first
    with run_apart(world, names, "-c", 2, "--in-doubt", "hold") as process:
        while not in_flight(world):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (130, 143)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert "in doubt" in said
    asked = set(world.asked())
    ended = world.run(prompts(*names), "--in-doubt", "hold")
    assert ended.code == 7 and not asked & set(world.asked())
    held = {name.split(" ")[0] for name in names} - world.results().keys()
    assert asked <= held and 1 <= len(held) <= 2


def test_a_process_that_runs_out_of_memory_keeps_what_it_recorded(world: World) -> None:
    small = [f"small{number}" for number in range(3)]
    assert world.run(prompts(*small)).code == 0
    world.asked()
    huge = [f"huge{number} [[mock:big mb=40]]" for number in range(4)]

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with run_apart(world, [*small, *huge], "-c", 4, preexec_fn=restrict) as process:
        assert process.wait(60) not in (0, 1)  # a library may die of it before Python can say a word
    assert world.asked().count("small0") == 0
    assert world.run(prompts(*small, "huge0", "huge1", "huge2", "huge3"), "--changed", "rerun").code == 0
    assert len(world.results()) == 7 and not set(small) & set(world.asked())


# Both ways out.


def test_tee_repeats_the_lines_that_stay_and_goes_on_with_the_new_ones(world: World) -> None:
    asked = prompts("a", "b [[mock:status code=400 times=1]]", "c")
    world.run(asked)
    old = world.results()
    out = world.folder / "stdout"
    edited = [{"id": "a", "prompt": "other"}, *asked[1:], *prompts("d")]
    assert world.run(edited, "--tee", stdout=out).code == 0
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert lines[0] == old["c"]
    assert sorted(line["id"] for line in lines[1:]) == ["a", "b", "d"]
    assert {line["id"]: line for line in lines} == world.results()


def test_tee_without_a_reader_finishes_what_is_in_flight_and_ends_with_141(world: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    names = [f"t{number}" for number in range(8)]
    with run_apart(world, names, "--tee", "-c", 2, "-b", 2, stdout=writing) as process:
        os.close(writing)
        assert process.wait(20) == 141
        assert process.stderr is not None and b"Traceback" not in process.stderr.read()
    assert set(world.asked()) == world.results().keys()
    assert world.run(prompts(*names)).code == 0


def test_equal_requests_of_a_held_record_are_held_too_under_dedupe(world: World) -> None:
    asked = [{"id": name, "prompt": "same [[mock:cut times=1]]"} for name in ("a", "b")]
    for _ in range(2):
        assert world.run(asked, "--in-doubt", "hold", "--dedupe").code == 7
    assert world.asked() == ["same"]


def test_a_doubt_outlives_an_edit_and_its_answer(world: World) -> None:
    first, second = {"id": "a", "prompt": "first [[mock:cut]]"}, {"id": "a", "prompt": "second"}
    assert world.run([first], "--in-doubt", "hold").code == 7
    assert world.run([second], "--in-doubt", "hold").code == 0
    assert world.run([first], "--in-doubt", "hold").code == 7
    assert world.run([second], "--in-doubt", "hold").code == 0
    assert world.asked() == ["first", "second"]


def test_under_dedupe_the_order_of_the_records_does_not_matter_to_what_is_held(world: World) -> None:
    asked = [{"id": name, "prompt": "same [[mock:cut times=1]]"} for name in ("a", "b", "c")]
    for records in (asked, asked[::-1], asked[1:], [*asked, {"id": "new", "prompt": asked[0]["prompt"]}]):
        assert world.run(records, "--in-doubt", "hold", "--dedupe").code == 7
    assert world.asked() == ["same"]


@pytest.mark.parametrize("hold", [(), ("--in-doubt", "hold")], ids=["retry", "hold"])
@pytest.mark.parametrize("retries", [0, 1])
def test_under_dedupe_a_failure_that_was_paid_for_is_shared_too(
    world: World, hold: tuple[str, ...], retries: int
) -> None:
    def twins(*names: str) -> list[dict[str, str]]:
        return [{"id": name, "prompt": "same [[mock:text value=nope]]"} for name in names]

    flags = ("--json", "--json-retries", retries, "--dedupe", "--price", "1,1", *hold)
    summary = world.folder / "summary.json"
    assert world.run(twins("a", "b", "c"), *flags, "--summary-file", summary).code == 1
    assert len(world.asked()) == 1 + retries
    first, *others = results_of(world.output)
    assert [line["error"]["kind"] for line in (first, *others)] == ["not_json"] * 3
    assert all(line["billed"] for line in (first, *others)) and "usage" in first and "deduplicated" not in first
    for line in others:
        assert line["deduplicated"] and line["text"] == "nope" and line["attempts"] == 0
        assert not {"usage", "cost_usd", "possibly_billed"} & line.keys()
    told = json.loads(summary.read_text())
    assert (told["failed"], told["requests"]) == (3, 1 + retries) and told["cost_usd"] == first["cost_usd"]
    for records in (twins("a", "b", "c"), twins("new", "c", "a"), [*prompts("a"), *twins("b", "newer")]):
        assert world.run(records, *flags).code == 1
    assert world.asked() == ["a"], "later copies, in any order and without the first, share it"
    assert world.run(twins("b", "c"), *flags, "--redo", "all").code == 1
    assert len(world.asked()) == 1 + retries


@pytest.mark.parametrize("hold", ["hold", "retry"])
def test_under_dedupe_the_retries_of_one_answer_are_counted_for_all_that_share_it(world: World, hold: str) -> None:
    for at in range(27, 200, 5 * every(3)):
        one = World(world.bench, world.provider, world.folder / str(at), f"{hold}{at}")
        asked = [{"id": name, "prompt": UNFIT} for name in ("a", "b", "c")]
        flags = ("--json", "--json-retries", 1, "--dedupe", "--in-doubt", hold)
        ended = one.run(asked, *flags, trap=one.trap(at))
        again = one.run(asked[::-1], *flags)
        assert again.code in ((1, 7) if hold == "hold" else (1,)), again.stderr
        billed, lines = one.billed()["x"], one.results()
        assert billed <= 2 + sum(line.get("possibly_billed", 0) for line in lines.values()), f"{ended.struck} {at}"
        assert one.run([*asked, {"id": "new", "prompt": UNFIT}], *flags).code == again.code and one.asked() == []
        if not ended.killed:
            return
    raise AssertionError("the run does not end")


def test_an_answer_in_another_file_resolves_a_doubt(world: World) -> None:
    asked = [{"id": "a", "prompt": "same [[mock:cut times=1]]"}]
    assert world.run(asked, "--in-doubt", "hold").code == 7
    other = world.disk / "other.jsonl"
    assert world.run(asked, output=other).code == 0
    assert world.run(asked, "--in-doubt", "hold", "--reuse", other).code == 0
    assert world.asked() == ["same", "same"] and world.results()["a"]["reused"]


UNFIT = "x [[mock:text value=nope times=1]] [[mock:status code=429 retry-after=0 times=1]] [[mock:text value=nope]]"
JSON = ("--json", "--json-retries", 2)


@pytest.mark.parametrize("policy", ["hold", "retry"])
def test_a_paid_answer_is_on_disk_before_a_better_one_is_asked_for(world: World, policy: str) -> None:
    """Killed at any operation: what the line does not tell is at most the one request that was in flight."""
    for at in range(25, 200, 4 * every(3)):
        first = World(world.bench, world.provider, world.folder / str(at), f"{policy}{at}")
        asked = [{"id": "x", "prompt": UNFIT}]
        ended = first.run(asked, *JSON, "--in-doubt", policy, trap=first.trap(at))
        files = [path.read_bytes() for path in (first.output, first.redo) if path.exists()]
        kept = [json.loads(line) for file in files for line in file.split(b"\n")[:-1]]
        billed = first.billed()["x"]
        known = max((line["attempts"] for line in kept), default=0)
        assert billed <= known + 1, f"killed at {ended.struck} {at}: {billed} were billed, {known} are on disk"
        again = first.run(asked, *JSON, "--in-doubt", policy)
        billed += first.billed()["x"]
        line = first.results().get("x")
        reported = line["attempts"] + line.get("possibly_billed", 0) if line is not None else 0
        assert billed <= max(known + 1, reported), f"killed at {ended.struck} {at}: {billed} of {reported}"
        assert again.code in ((7, 1) if policy == "hold" else (1,))
        assert billed <= 3 + (line or {}).get("possibly_billed", 0), "--json-retries counts over all runs"
        if not ended.killed:
            return
    raise AssertionError("the run does not end")


def test_two_interrupts_while_a_better_answer_is_asked_for_keep_the_paid_one(world: World) -> None:
    with run_apart(world, ["x [[mock:text value=no times=1]] [[mock:hang]]"], "--json", "--json-retries", 2) as process:
        asked: list[str] = []
        while len(asked) < 2:
            asked += world.asked()
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        while process.poll() is None:  # the next one drops the request that hangs
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
    (line,) = results_of(world.output)
    assert (line["status"], line["error"]["kind"], line["text"]) == ("failed", "not_json", "no")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_json_retries_that_are_left_are_made_by_the_next_run(world: World, signum: int) -> None:
    says = (
        "[[mock:text value=no times=1]] [[mock:status code=429 retry-after=30 times=1]] [[mock:text value={%22a%22:1}]]"
    )
    flags = ("--json", "--json-retries", 1, "--price", "1,1")
    with run_apart(world, [f"x {says}"], *flags) as process:
        asked: list[str] = []
        while len(asked) < 2:
            asked += world.asked()
            assert process.poll() is None
        process.send_signal(signum)
        process.wait(20)
    (line,) = results_of(world.output)
    assert (line["status"], line["attempts"] >= 1, line["text"]) == ("failed", True, "no")
    paid = line["cost_usd"]
    records = prompts(f"x {says}")
    for kept in (("--json", "--price", "1,1"), (*flags, "--redo", "none")):
        assert world.run(records, *kept).code == 1 and world.asked() == []
    if line["attempts"] == 1:
        assert "1 of them sent again" in world.run(records, *flags, "--dry-run").stderr
    ended = world.run(records, *flags)
    if line["attempts"] > 1:  # a refused request may have been another attempt
        assert ended.code == 1 and world.asked() == []
        return
    (better,) = results_of(world.output)
    assert ended.code == 0 and world.asked() == ["x"], ended.stderr
    assert (better["status"], better["attempts"], better["json"]) == ("ok", 2, {"a": 1}) and better["cost_usd"] > paid


def test_a_retry_that_fails_leaves_the_answer_that_was_paid(world: World) -> None:
    asked = [{"id": "x", "prompt": "x [[mock:text value=no times=1]] [[mock:status code=400]]"}]
    assert world.run(asked, "--json").code == 1
    (before,) = results_of(world.output)
    assert world.run(asked, "--json", "--json-retries", 1).code == 1
    (after,) = results_of(world.output)
    assert world.asked() == ["x", "x"]
    same = ("status", "error", "billed", "text", "usage", "finish_reason", "model", "key", "record")
    assert [after[name] for name in same] == [before[name] for name in same] and after["attempts"] == 2


def test_another_shard_on_the_same_file_is_refused(world: World) -> None:
    asked = prompts("a", "b", "c", "d", "e", "f")
    assert world.run(asked, "--shard", "1/2").code == 0
    world.asked()
    for other in (("--shard", "2/2"), ("--shard", "1/3"), ()):
        ended = world.run(asked, *other)
        assert ended.code == 2 and world.asked() == [] and "shard 1/2" in ended.stderr
    assert world.run(asked, "--shard", "1/2").code == 0 and world.asked() == []


@pytest.mark.parametrize("stdin", [False, True], ids=["from a file", "from stdin"])
def test_what_is_in_doubt_is_told_before_anything_is_sent(world: World, stdin: bool) -> None:
    asked = prompts("a", *(f"{name} [[mock:cut times=1]]" for name in "bcdef"))
    assert world.run(asked, "--in-doubt", "hold").code == 7
    held = world.run(asked, "--in-doubt", "hold", stdin=stdin)
    assert (
        held.code == 7
        and ("5 in doubt" if stdin else "5 in doubt and not sent again ('b', 'c', 'd', …)") in held.stderr
    )
    assert "5 of them in doubt and may be paid for twice" in world.run(asked, "--dry-run").stderr
    again = world.run(asked, stdin=stdin)
    named = "" if stdin else " ('b', 'c', 'd', …)"
    assert again.code == 0 and f"in doubt{named} and may be paid for twice" in " ".join(again.stderr.split())
