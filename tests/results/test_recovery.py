"""What the end of a file tells after a crash."""

from pathlib import Path

import pytest

from llmbatch.results.opening import is_ours


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        (b"", True),
        (b'{"i', True),
        (b'{"id":"a","index":0,"sta', True),
        (b'{"id":"a","ind\0\0\0', True),
        (b'{"id":"a","prompt":"Hi."}', False),
        (b'{"prompt":"Hi."', False),
        (b"id,prompt", False),
    ],
)
def test_one_line_without_its_newline_is_ours_only_as_a_piece_of_a_result(
    tmp_path: Path, content: bytes, ours: bool
) -> None:
    file = tmp_path / "out.jsonl"
    file.write_bytes(content)
    assert is_ours(file) is ours
