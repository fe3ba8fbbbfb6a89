"""Answers shared between records and files, one input shared between runs."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .command import Command, Mock, lines_of

RECORDS = [{"id": number, "prompt": f"the same {number % 3}"} for number in range(30)]


def asked(mock: Mock) -> Counter[str]:
    return Counter(entry["prompt"] for entry in mock.ledger("the same"))


def test_under_dedupe_equal_requests_are_sent_once_and_every_record_has_its_line(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    own_mock = start_mock()
    out = tmp_path / "out.jsonl"

    assert llmbatch("run", *own_mock("-o", out, "--dedupe", "-b", "4"), stdin=RECORDS).code == 0

    lines = lines_of(out)
    assert sorted(line["id"] for line in lines) == list(range(30))
    assert sum(line.get("deduplicated", False) for line in lines) == 27
    assert all("usage" not in line for line in lines if line.get("deduplicated"))
    assert len({(line["id"] % 3, line["text"]) for line in lines}) == 3
    assert asked(own_mock) == {f"the same {number}": 1 for number in range(3)}


def test_a_leader_that_fails_makes_room_for_the_next_of_its_equals(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    own_mock = start_mock()
    prompt = "the same [[mock:status code=400 times=1]]"
    records = [{"id": number, "prompt": prompt} for number in range(5)]
    out = tmp_path / "out.jsonl"

    assert llmbatch("run", *own_mock("-o", out, "--dedupe"), stdin=records).code == 1

    assert Counter(line["status"] for line in lines_of(out)) == {"ok": 4, "failed": 1}
    assert len(own_mock.ledger("the same")) == 2


def test_answers_are_reused_from_another_results_file_for_free(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    own_mock = start_mock()
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    assert llmbatch("run", *own_mock("-o", first), stdin=RECORDS[:3]).code == 0

    assert llmbatch("run", *own_mock("-o", second, "--reuse", first), stdin=RECORDS).code == 0

    assert len(own_mock.ledger("the same")) == 3
    assert all(line["reused"] and line["attempts"] == 0 for line in lines_of(second))
    assert llmbatch("run", *own_mock("-o", second), stdin=RECORDS).code == 0
    assert len(own_mock.ledger("the same")) == 3


def test_the_shards_of_an_input_are_disjoint_and_whole(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    outs = [tmp_path / f"out-{number}.jsonl" for number in (1, 2, 3)]

    for number, out in enumerate(outs, 1):
        assert llmbatch("run", source, *mock("-o", out, "--shard", f"{number}/3")).code == 0

    assert sorted(line["id"] for out in outs for line in lines_of(out)) == list(range(30))
    assert llmbatch("verify", source, "-o", *outs).code == 0


def test_the_metrics_file_is_whole_and_in_prometheus_format(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    path = tmp_path / "llmbatch.prom"

    assert llmbatch("run", *mock("--metrics-file", path), stdin=RECORDS).code == 0

    samples = dict(line.rsplit(" ", 1) for line in path.read_text().splitlines() if not line.startswith("#"))
    assert samples['llmbatch_records_total{status="ok"}'] == "30"
    assert samples["llmbatch_in_flight"] == samples["llmbatch_exit_code"] == "0"
    assert float(samples["llmbatch_end_time_seconds"]) >= float(samples["llmbatch_start_time_seconds"]) > 1.7e9
    assert list(tmp_path.iterdir()) == [path]
