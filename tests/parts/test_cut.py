"""Each record of the input lies in exactly one part, in order, however the input is cut."""

import gzip
import json
import os
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.core.settings import PartSize
from llmbatch.input.source import open_source
from llmbatch.parts.cut import cut, look_at
from llmbatch.parts.plan import Part, Piece
from tests.support.deep import examples
from tests.support.object_store import serving

LINE = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=8).map(lambda text: json.dumps(text)),
    st.just(""),
    st.just("not json"),
    st.just("\ufeff"),
    st.just("﻿﻿"),
    st.just(json.dumps("long " * 60)),
)
FILE = st.tuples(st.lists(LINE, max_size=30), st.sampled_from(["\n", "\r\n"]), st.booleans())
SIZE = st.one_of(st.integers(1, 40).map(PartSize), st.integers(1, 300).map(lambda count: PartSize(count, "bytes")))


def content(lines: list[str], end: str, ended: bool) -> bytes:
    return (end.join(lines) + (end if ended else "")).encode()


def records_in(paths: list[str], parts: list[Part] | None = None) -> list[object]:
    """Read the values and errors of all parts, or of the inputs as they are."""
    found = []
    for part in parts if parts is not None else [Part(tuple(map(Piece, range(len(paths)))), 0)]:
        names, spans = [paths[piece.input] for piece in part.pieces], [piece.span for piece in part.pieces]
        with closing(open_source(names, format="jsonl", max_line=200, spans=spans)) as source:
            while entries := source.read(7):
                found += [(entry.value, (entry.error or "").partition(": ")[2]) for entry in entries]
    return found


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(FILE, min_size=1, max_size=3), SIZE)
@example([(['"a"', "", '"b"'], "\r\n", False)], PartSize(1))
@example([(["\ufeff"] * 3 + ['"a"'], "\n", True)], PartSize(1, "bytes"))
def test_every_line_lies_in_exactly_one_part(files: list[tuple[list[str], str, bool]], size: PartSize) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.jsonl" for number in range(len(files))]
        for path, file in zip(paths, files, strict=True):
            lines, end, ended = file
            Path(path).write_bytes(content(['"first"', *lines], end, ended))
        parts = cut(look_at(paths), size, format="jsonl", delimiter=None)
        assert records_in(paths, parts) == records_in(paths)


def test_parts_have_about_as_many_records_as_asked_for_and_the_rest_of_a_file_is_no_crumb(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'"a prompt"\n' * 10_500)
    parts = cut(look_at([str(path)]), PartSize(1000), format=None, delimiter=None)
    assert len(parts) == 10
    assert all(1040 <= part.records <= 1060 for part in parts)


def test_small_files_share_a_part_and_what_cannot_be_cut_stays_whole(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_bytes(b'"x"\n' * 40)
    (tmp_path / "5.csv").write_bytes(b"prompt\n" + b'"x\n"\n' * 500)
    (tmp_path / "6.jsonl.gz").write_bytes(gzip.compress(b'"x"\n' * 5000))
    paths = sorted(map(str, tmp_path.iterdir()))
    parts = cut(look_at(paths), PartSize(100), format=None, delimiter=None)
    assert [[piece.input for piece in part.pieces] for part in parts][:2] == [[0, 1], [2, 3]]
    assert all(piece.span is None for part in parts for piece in part.pieces)
    assert [piece.input for part in parts for piece in part.pieces] == list(range(6))


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": [str(number) for number in range(100)]}), path, row_group_size=10)
    parts = cut(look_at([str(path)]), PartSize(25), format=None, delimiter=None)
    assert [part.records for part in parts] == [30, 30, 30, 10]
    found = []
    for part in parts:
        spans = [piece.span for piece in part.pieces]
        with closing(open_source([str(path)], format=None, max_line=99, spans=spans)) as source:
            while entries := source.read(99):
                found += [(entry.where, entry.value["prompt"]) for entry in entries]
                assert 0 <= (source.fraction or 0) <= 1
    numbers = [text for _, text in found]
    assert numbers == [str(number) for number in range(100)]
    assert found[30][0].endswith("row 31")


def test_a_large_file_is_looked_at_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'"a prompt of some length"\n' * 50_000)
        file.truncate(10 << 30)  # a hole: reading it would take minutes, and it has no newline to find
        file.seek((10 << 30) - 1)
        file.write(b"\n")
    read, pread = 0, os.pread

    def counted(fd: int, size: int, place: int) -> bytes:
        nonlocal read
        read += size
        if not place:  # of the beginning, lines are counted
            return pread(fd, size, place)
        return b"x\n" * (size // 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmbatch.input.bytes_at.os.pread", counted)
        parts = cut(look_at([str(path)]), PartSize(), format=None, delimiter=None)
    assert len(parts) > 1000
    assert read < 1 << 30


def test_an_object_is_cut_as_a_file_is_and_a_server_without_ranges_gives_one_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [json.dumps("x" * (number * 37 % 400)) for number in range(2000)]
    text = "\r\n".join(lines).encode()
    (tmp_path / "a.jsonl").write_bytes(text)
    with serving() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        store.objects["bucket/a.jsonl"] = text
        names = ["s3://bucket/a.jsonl", f"{store.url}/bucket/a.jsonl?signature=secret", str(tmp_path / "a.jsonl")]
        cuts = [cut(look_at([name]), PartSize(100), format=None, delimiter=None) for name in names]
        assert cuts[0] == cuts[1] == cuts[2] and len(cuts[0]) > 10
        assert records_in(names[:1], cuts[0]) == records_in(names[2:])
        store.always["bucket/a.jsonl"] = "whole"
        assert len(cut(look_at(names[1:2]), PartSize(100), format=None, delimiter=None)) == 1


def test_an_input_that_can_be_read_only_once_is_refused() -> None:
    with pytest.raises(UsageError, match="stdin can be read only once"):
        look_at(["-"])
    with pytest.raises(UsageError, match="/dev/null can be read only once"):
        look_at(["/dev/null"])
