"""`--dry-run` beside a results file."""

from pathlib import Path

from .command import Command, Mock


def test_a_dry_run_shows_only_what_would_be_sent_and_touches_nothing(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    records = [{"id": number, "prompt": f"question {number}"} for number in range(5)]
    assert llmbatch("run", *mock("-o", out, "--limit", "3"), stdin=records).code == 0
    before = {path: path.read_bytes() for path in (out, *Path(f"{out}.state").iterdir())}

    edited = [{**records[0], "prompt": "edited"}, *records[1:]]
    done = llmbatch("run", *mock("-o", out, "--dry-run"), stdin=edited)

    assert done.code == 0
    assert [line["id"] for line in done.results] == [0, 3, 4]
    assert "3 requests" in done.stderr and "2 done before" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_a_dry_run_says_where_the_run_itself_would_stop_and_knows_what_was_decided(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    words = ("-o", tmp_path / "out.jsonl", "--max-tokens")
    records = [{"id": number, "prompt": f"question {number}"} for number in range(3)]
    assert llmbatch("run", *mock(*words, 50), stdin=records).code == 0

    other = llmbatch("run", *mock(*words, 60, "--dry-run"), stdin=records)
    assert other.code == 0 and len(other.results) == 3
    assert "3 of them sent again" in other.stderr and "3 answers were made with other options" in other.stderr
    rerun = llmbatch("run", *mock(*words, 60, "--dry-run", "--changed", "rerun"), stdin=records)
    assert len(rerun.results) == 3 and "other options" not in rerun.stderr

    assert llmbatch("run", *mock(*words, 60, "--changed", "keep"), stdin=records).code == 0
    kept = llmbatch("run", *mock(*words, 60, "--dry-run"), stdin=records)
    assert not kept.results and "0 requests" in kept.stderr and "3 done before" in kept.stderr
