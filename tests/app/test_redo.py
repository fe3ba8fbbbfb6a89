"""`--redo`: what its words, kinds and files of ids mean."""

from pathlib import Path

import pytest

from llmbatch.app.redo import parse_redo
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import Redo


def test_words_say_which_failures_are_sent_again() -> None:
    assert parse_redo("unbilled") == Redo("unbilled")
    assert parse_redo("none") == Redo("none")
    assert parse_redo("all") == Redo("all")


def test_kinds_stand_with_commas_between_them() -> None:
    assert parse_redo("schema, not_json").kinds == {"schema", "not_json"}


@pytest.mark.parametrize(("text", "near"), [("shema", "schema"), ("timeouts", "timeout"), ("al", "all")])
def test_a_kind_that_is_nearly_one_is_refused_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_redo(text)
    assert near in (refused.value.hint or "")


def test_a_file_of_ids_takes_json_text_and_result_lines(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_bytes(b'\xef\xbb\xbfa b\r\n7\n"8"\n{"id":"r-1","status":"ok"}\n{"id":null}\n\nnull\n')
    assert parse_redo(f"@{file}").ids == {"a b", 7, "7", "8", "r-1", "null"}


@pytest.mark.parametrize("content", [None, b"\n\n", b"\xff\xfea\0"])
def test_a_file_without_ids_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    with pytest.raises(UsageError):
        parse_redo(f"@{tmp_path / 'ids'}")
