"""Wherever the bytes of a crash end, the next run comes to the same records."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.results.resume_policy import ResumePolicy
from tests.results.store_use import run
from tests.support.deep import examples
from tests.torture.bench import quick_folder, results_of

NAMES = [f"n{number}" for number in range(10)]


@pytest.fixture(scope="module")
def begun() -> Iterator[Path]:
    """A run that was killed after seven of ten lines."""
    with quick_folder() as folder:
        (folder / "begun").mkdir()
        run(folder / "begun" / "out.jsonl", NAMES, until=7)
        yield folder / "begun"


def continued(begun: Path, file: str, cut: int) -> tuple[Path, Path]:
    folder = begun.parent / "again"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begun, folder)
    path = folder / file
    path.write_bytes(path.read_bytes()[:cut])
    return folder, folder / "out.jsonl"


@settings(max_examples=examples(120), deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_is_completed(begun: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["out.jsonl", "out.jsonl.state/intents", "out.jsonl.state/marks-1"]))
    cut = data.draw(st.integers(0, (begun / file).stat().st_size))
    folder, output = continued(begun, file, cut)
    whole = (begun / "out.jsonl").read_bytes()
    lines = whole.split(b"\n")[:-1]
    ends = [len(b"\n".join(lines[: n + 1])) for n in range(len(lines))]
    kept = [json.loads(line)["id"] for line, end in zip(lines, ends, strict=True) if file != "out.jsonl" or end <= cut]
    sent = run(output, NAMES)
    assert sorted(line["id"] for line in results_of(output)) == NAMES
    assert not set(sent) & set(kept)
    torn = b"".join(path.read_bytes() for path in folder.glob("out.jsonl.state/torn-*"))
    assert whole[:cut].endswith(torn) or file != "out.jsonl"


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 5000), st.integers(0, 40).map(bytes))
def test_under_hold_what_was_torn_is_not_sent_again(begun: Path, cut: int, junk: bytes) -> None:
    folder, output = continued(begun, "out.jsonl", cut)
    whole = output.read_bytes()
    if junk:
        output.write_bytes(whole + junk)
    had = {json.loads(line)["id"] for line in (begun / "out.jsonl").read_bytes().splitlines()}
    sent = run(output, NAMES, policy=ResumePolicy(hold=True))
    assert not set(sent) & had
    assert folder.exists()
