"""Every input of this folder gives the lines in the file beside it, however it is read."""

import bz2
import gzip
import importlib
import lzma
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from .corpus import Case, Reading, cases, read

CASES = cases()


def check(reading: Reading, expected: dict[str, Any]) -> None:
    """Compare what came with what must come; of messages a part is enough."""
    if "stops" in expected:
        stops = expected["stops"]
        assert reading.stops is not None, f"it was read: {reading.lines[:3]}"
        assert reading.stops["exit"] == stops["exit"]
        for words in stops["says"]:
            assert words in reading.stops["says"]
        assert reading.lines == []
        return
    assert reading.stops is None
    assert len(reading.lines) == len(expected["lines"])
    for line, wanted in zip(reading.lines, expected["lines"], strict=True):
        fails = wanted.get("fails")
        assert fails is None or fails in line.get("fails", "")
        meta = {} if "meta" in wanted else {"meta": line["meta"]}
        assert line == {"id": None} | meta | wanted | ({"fails": line["fails"]} if fails is not None else {})
    for words in expected.get("said", []):
        assert any(words in text for text in reading.said), reading.said
    if "said" not in expected:
        assert reading.said == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_input_gives_the_lines_beside_it(case: Case) -> None:
    check(read(case.file, options=case.options), case.expected)


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("case", [case for case in CASES if case.piped], ids=lambda case: case.name)
def test_an_input_gives_the_same_in_drops_through_a_pipe(case: Case, limit: int, tmp_path: Path) -> None:
    pipe = tmp_path / case.file.name
    os.mkfifo(pipe)
    thread = threading.Thread(target=_drip, args=(pipe, case.file.read_bytes(), 7 * limit), daemon=True)
    thread.start()
    try:
        check(read(pipe, options=case.options, limit=limit), case.expected)
    finally:
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        thread.join()


def _drip(pipe: Path, data: bytes, size: int) -> None:
    try:
        with pipe.open("wb", buffering=0) as file:
            for start in range(0, len(data), size):
                file.write(data[start : start + size])
    except BrokenPipeError:
        pass  # it was refused


ZSTD = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
COMPRESSED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": ZSTD.compress}
TEXTS = [case for case in CASES if not case.file.read_bytes().startswith((b"PAR1", b"PK", b"\x1f"))]


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name)
def test_an_input_gives_the_same_when_it_is_compressed_whatever_it_is_called(case: Case, tmp_path: Path) -> None:
    for suffix, compress in COMPRESSED.items():
        for name in (f"{case.file.name}{suffix}", case.file.name):
            (tmp_path / name).write_bytes(compress(case.file.read_bytes()))
            check(read(tmp_path / name, options=case.options), case.expected)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_what_is_compressed_is_opened_on_a_pipe_too(suffix: str, tmp_path: Path) -> None:
    case = next(case for case in TEXTS if case.name == "param_beside_prompt")
    os.mkfifo(pipe := tmp_path / case.file.name)
    data = COMPRESSED[suffix](case.file.read_bytes())
    thread = threading.Thread(target=_drip, args=(pipe, data, 5), daemon=True)
    thread.start()
    check(read(pipe, options=case.options), case.expected)
    thread.join()


@pytest.mark.parametrize("case", [case for case in CASES if "lines" in case.expected], ids=lambda case: case.name)
def test_no_record_is_another_for_the_name_of_its_file(case: Case, tmp_path: Path) -> None:
    elsewhere = tmp_path / f"another name{''.join(case.file.suffixes[-1:])}"
    shutil.copy(case.file, elsewhere)
    (tmp_path / "before.jsonl").write_text('{"prompt":"first"}\n')
    options = {name: value for name, value in case.options.items() if name not in ("input_format", "delimiter")}
    records = read(case.file, options=options).records
    assert read(elsewhere, options=options).records == records
    if "id_field" not in options and options.get("meta") is None:
        after = read(tmp_path / "before.jsonl", elsewhere, options={**options, "id_field": "none"}).records
        assert after == [] or after[1:] == records
