"""The options from Python are the flags, and mean the same."""

import math
import os
from pathlib import Path
from typing import Any

import pytest

from llmbatch.api.options import settings_of
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import PaceSettings, Settings, Tolerance


def test_without_options_the_settings_are_those_of_the_command() -> None:
    assert settings_of({}, (), tee=False) == Settings()
    assert settings_of({"model": None, "rpm": None}, (), tee=False) == Settings()


def test_options_arrive_where_the_engine_looks(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "concurrency": 7,
        "rpm": 60,
        "pack": 3,
        "temperature": 0.5,
        "params": {"top_p": 1},
        "headers": {"x": "y"},
        "images": ["a"],
        "root": str(tmp_path),
        "meta": ["a", "b"],
        "max_failures": "5%",
        "deadline": 3,
        "timeout": 2.5,
        "output": tmp_path / "out.jsonl",
        "reuse": [tmp_path / "other.jsonl"],
        "include": ["request"],
        "schema": {"type": "object"},
        "fail_on_finish": ["length"],
        "shard": (2, 4),
    }
    made = settings_of(options, ("in.jsonl",), tee=True)
    assert made.pace == PaceSettings(concurrency=7, pack=3, rpm=60)
    assert made.model.params == {"top_p": 1, "temperature": 0.5} and made.model.headers == {"x": "y"}
    assert made.input.paths == ("in.jsonl",) and made.input.images == ("a",) and made.input.meta == ("a", "b")
    assert made.stop.max_failures == Tolerance(share=0.05) and made.stop.deadline == 3
    assert made.patience.timeout == 2.5 and made.model.schema == {"type": "object"}
    assert made.output.path == tmp_path / "out.jsonl" and made.output.tee and made.output.include == {"request"}
    assert made.resume.reuse == (os.fspath(tmp_path / "other.jsonl"),) and made.input.shard == (2, 4)
    assert made.model.fail_on_finish == {"length"}


def test_one_of_several_may_stand_alone() -> None:
    options = {"images": "file", "include": "request", "meta": "row", "fail_on_finish": "length", "reuse": "old.jsonl"}
    made = settings_of(options | {"output": "new.jsonl", "meta_fields": "seed"}, (), tee=False)
    assert made.input.images == ("file",) and made.output.include == {"request"} and made.input.meta == ("row",)
    assert made.model.fail_on_finish == {"length"} and made.resume.reuse == ("old.jsonl",)
    assert made.input.meta_fields == {"seed"}


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"rpm": 0},
        {"rpm": math.nan},
        {"retries": "5"},
        {"limit": -1},
        {"shard": (5, 4)},
        {"shard": 2},
        {"pack": 0},
        {"params": {"top_p": math.inf}},
        {"params": {"stop": b"bytes"}},
        {"overrides": {"logit_bias": {"a": [math.nan]}}},
        {"schema": {"const": 2**64}},
        {"temperature": math.nan},
        {"template": "Caf\udce9"},
        {"redo": "shema"},
    ],
)
def test_values_that_cannot_be_are_usage_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        settings_of(options, (), tee=False)
