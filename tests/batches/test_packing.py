"""Embeddings in batches: many inputs share a line, and each record gets the vector of its own text."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.batches.chunks import ChunkLimits
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.settings import BatchSettings
from llmbatch.core.ticket import Step
from llmbatch.dialects.openai_embeddings import PATH, Embeddings
from llmbatch.dialects.request_options import Options
from tests.support.batch_runs import BatchRun, Line, Provider, die_at, expired, inputs, row


def embedding(index: int, input: Any = None, tokens: int = 1) -> Job:
    """Make a job that wants the vector of its own number."""
    item = {"model": "m", "input": str(index) if input is None else input}
    return Job(
        Identity(index, f"id-{index}", f"r{index}"), f"{index:032x}", Route(PATH, "m", "embeddings"), item, {}, tokens
    )


def vectors(line: Line, order: int = 1) -> bytes:
    """Return the row of a line: the vector of a number holds that number."""
    data = [{"index": place, "embedding": [float(number)]} for place, number in enumerate(inputs(line))]
    return row(line, model="m", data=data[::order], usage={"prompt_tokens": 100, "total_tokens": 100})


def run(path: Path, provider: Provider, jobs: list[Job], **more: Any) -> BatchRun:
    return BatchRun(path, provider, jobs, dialect=Embeddings(Options(), pack=4), **more)


def test_inputs_share_lines_and_each_record_gets_its_own_vector_and_share_of_the_cost(tmp_path: Path) -> None:
    provider = Provider(lambda lines: [vectors(line, -1) for line in lines][::-1])
    done = run(tmp_path / "out.jsonl", provider, [embedding(n) for n in range(10)])
    assert provider.sizes == [3]
    assert {n: line["embedding"] for n, line in done.lines.items()} == {n: [float(n)] for n in range(10)}
    assert sum(line["usage"]["input_tokens"] for line in done.lines.values()) == 300
    assert {line["batch"] for line in done.lines.values()} == {"batch-0"}


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        (ChunkLimits(6, 1 << 20, 1 << 20), 3),
        (ChunkLimits(3, 1 << 20, 1 << 20), 5),
        (ChunkLimits(100, 1 << 20, 120), 1),
        (ChunkLimits(100, 1 << 20, 1 << 20, tokens=4), 6),
        (ChunkLimits(100, 1 << 20, 1 << 20, inputs=8), 2),
    ],
)
def test_batches_of_shared_lines_keep_within_every_limit(tmp_path: Path, limits: ChunkLimits, batches: int) -> None:
    provider = Provider(lambda lines: map(vectors, lines))
    settings = BatchSettings(
        batch_api=True, no_first_live=True, batch_tokens=int(limits.tokens) if limits.tokens else None
    )
    jobs = [embedding(n) for n in range(13)]
    done = run(tmp_path / "out.jsonl", provider, jobs, limits=limits, settings=settings)
    assert len(done.lines) == 13 and not done.stops
    sent = [file.splitlines(keepends=True) for name, file in provider.files.items() if not name.endswith("out")]
    counts = [sum(len(inputs(json.loads(line))) for line in lines) for lines in sent]
    assert max(counts) <= min(limits.records, limits.inputs, limits.tokens or 100)
    assert max(len(line) for lines in sent for line in lines) <= limits.line
    assert len(provider.sizes) == batches


def test_a_record_that_is_a_list_of_texts_counts_as_so_many_inputs(tmp_path: Path) -> None:
    provider = Provider(lambda lines: map(vectors, lines))
    jobs = [embedding(n, [str(n), str(n + 100), str(n + 200)]) for n in range(4)]
    done = run(tmp_path / "out.jsonl", provider, jobs, limits=ChunkLimits(100, 1 << 20, 1 << 20, inputs=7))
    assert provider.sizes == [2, 2]
    assert done.lines[3]["embedding"] == [[3.0], [103.0], [203.0]]


def test_a_line_for_which_the_whole_file_fails_gives_its_records_a_line_each_and_one_its_failure(
    tmp_path: Path,
) -> None:
    def fail(lines: list[Line]) -> dict[str, Any] | None:
        bad = next((n for n, line in enumerate(lines, 1) if 5 in inputs(line)), None)
        return {"code": "bad", "message": "no", "line": bad} if bad else None

    provider = Provider(lambda lines: map(vectors, lines), fail=fail)
    done = run(tmp_path / "out.jsonl", provider, [embedding(n) for n in range(12)])
    assert {n for n, line in done.lines.items() if line["status"] == "failed"} == {5}
    assert set(done.lines) == set(range(12)) and len(provider.sizes) == 3 and max(provider.billed.values()) == 1


@pytest.mark.parametrize("status", [400, 413])
def test_one_bad_input_of_a_line_fails_alone(tmp_path: Path, status: int) -> None:
    def answer(line: Line) -> bytes:
        error = {"message": "input is not valid", "type": "invalid_request_error", "code": None}
        return row(line, status, error=error) if 6 in inputs(line) else vectors(line)

    provider = Provider(lambda lines: map(answer, lines), billed=lambda line: 6 not in inputs(line))
    done = run(tmp_path / "out.jsonl", provider, [embedding(n) for n in range(12)])
    assert {n for n, line in done.lines.items() if line["status"] == "failed"} == {6}
    assert provider.sizes == [3, 4] and max(provider.billed.values()) == 1


@pytest.mark.parametrize("leftovers", ["live", "batch"])
def test_what_shared_a_line_is_asked_for_again_where_the_user_wants_it(tmp_path: Path, leftovers: str) -> None:
    provider = Provider(lambda lines: map(expired, lines) if len(provider.sizes) == 1 else map(vectors, lines))
    settings = BatchSettings(batch_api=True, no_first_live=True, leftovers=leftovers)
    done = run(tmp_path / "out.jsonl", provider, [embedding(n) for n in range(9)], settings=settings)
    if leftovers == "batch":
        assert provider.sizes == [3, 3] and {n: line["embedding"][0] for n, line in done.lines.items()} == dict(
            enumerate(map(float, range(9)))
        )
    else:
        assert [first for _, first in done.world.sent[:3]] == [0, 4, 8]


def _short(line: Line) -> bytes:
    """Return a row that lacks the vectors of all but the first input."""
    return row(line, model="m", data=[{"index": 0, "embedding": [float(inputs(line)[0])]}])


FATES: dict[str, Callable[[Line], bytes | None]] = {
    "answer": vectors,
    "backwards": lambda line: vectors(line, -1),
    "short": _short,
    "bad": lambda line: row(line, 400, error={"message": "no", "type": "invalid_request_error"}),
    "error": lambda line: row(line, 500, error={"message": "sorry", "type": "server_error"}),
    "expired": expired,
    "missing": lambda line: None,
    "unreadable": lambda line: vectors(line)[:-9],
}
FREE = ("bad", "error", "expired")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_whatever_becomes_of_rows_and_runs_each_record_gets_its_own_vector_or_says_why_not(
    data: st.DataObject, hold: bool
) -> None:
    fates = data.draw(st.lists(st.sampled_from(list(FATES)), max_size=6))
    kills = data.draw(st.lists(st.tuples(st.sampled_from(list(Step)[1:7]), st.booleans()), max_size=2))
    drawn: dict[str, str] = {}

    def fate(line: Line) -> str:
        return drawn.setdefault(line["custom_id"], fates.pop() if fates else "answer")

    provider = Provider(
        lambda lines: [found for line in lines if (found := FATES[fate(line)](line)) is not None],
        billed=lambda line: fate(line) not in FREE,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        for step, after in kills:
            with pytest.MonkeyPatch.context() as patch, suppress(BaseExceptionGroup):
                die_at(patch, step, after=after)
                run(path, provider, [embedding(n) for n in range(11)], hold=hold)
        done = run(path, provider, [embedding(n) for n in range(11)], hold=hold)
        lines = done.lines
    for n, line in lines.items():
        assert line["status"] == "failed" or line["embedding"] == [float(n)]
        paid_again = provider.billed[n] - 1 - line.get("possibly_billed", 0)
        assert paid_again <= sum(found == "short" for found in drawn.values())
    missing = set(range(11)) - set(lines)
    assert not missing or (hold and all(provider.billed[n] <= 1 for n in missing))
    if hold and "short" not in drawn.values():
        assert max(provider.billed.values(), default=0) <= 1


@pytest.mark.parametrize("lost", [False, True])
def test_under_dedupe_equal_texts_are_sent_once_and_all_get_the_vector(tmp_path: Path, lost: bool) -> None:
    jobs = [embedding(n) for n in range(14)]
    for n, one in enumerate(jobs):
        one.key, one.item = f"{n % 6:016x}" * 2, jobs[n % 6].item

    def rows(lines: list[Line]) -> list[bytes]:
        return [vectors(line) for line in lines[lost and len(provider.sizes) == 1 :]]

    provider = Provider(rows)
    done = run(tmp_path / "out.jsonl", provider, jobs, dedupe=True)
    assert not done.stops and {n: line["embedding"] for n, line in done.lines.items()} == {
        n: [float(n % 6)] for n in range(14)
    }
    assert sum("deduplicated" in line for line in done.lines.values()) == 8
    sent = [file for name, file in provider.files.items() if not name.endswith("out")]
    texts = [text for file in sent for line in file.splitlines() for text in inputs(json.loads(line))]
    assert sorted(set(texts)) == list(range(6)) and len(texts) == (10 if lost else 6), "a lost line is asked for again"
