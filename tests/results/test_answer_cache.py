"""An answer that is used again has all that the line of the first one has."""

import json
import os
from pathlib import Path

import pytest

from llmbatch.core.errors import InputError
from llmbatch.core.outcome import Completion
from llmbatch.results.answer_cache import AnswerCache


def test_an_answer_that_is_reused_keeps_every_field_of_its_own(tmp_path: Path) -> None:
    own = {
        "audio": {"data": "QQ==", "transcript": "Hi"},
        "provider_finish_reason": "end_turn",
        "tool_calls": [{"id": "c"}],
        "a_field_of_tomorrow": 1,
    }
    line = {
        "id": "a",
        "index": 0,
        "status": "ok",
        "text": "Hi",
        "finish_reason": "stop",
        "model": "m",
        "usage": {"input_tokens": 1},
        "reused": True,
        "attempts": 1,
        "cost_usd": 1.0,
        "batch": "b",
        "record": "r",
        "key": "ab" * 16,
        "meta": {"x": 1},
    }
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(line | own) + "\n")
    answers = AnswerCache()
    answers.load_files([str(file)])
    answer = answers.read("ab" * 16)
    assert answer == Completion("Hi", "stop", "m", None, None, None, own)
    answers.close()


@pytest.mark.parametrize("kind", ["folder", "FIFO", "device", "missing"])
def test_answers_are_reused_from_a_regular_file_only(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/null") if kind == "device" else tmp_path / "other.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    with pytest.raises(InputError, match=path.name):
        AnswerCache().load_files([str(path)])
