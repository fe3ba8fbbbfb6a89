"""The table of options agrees with the settings, with the Python API and with itself."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from llmbatch.api.options import API_KEY, Options
from llmbatch.core.errors import UsageError
from llmbatch.core.settings import PartSize, Redo, Settings, Tolerance
from llmbatch.dialects.finish_reasons import REASONS
from llmbatch.input.source import FORMATS
from llmbatch.options import kinds, request_kinds
from llmbatch.options.option import Option
from llmbatch.options.resolve import to_settings
from llmbatch.options.table import ALL_FLAGS, OPTIONS

BY_NAME = {option.name: option for option in OPTIONS}

DERIVED = {
    "models",
    "model.model",
    "input.paths",
    "input.named",
    "input.spans",
    "input.part",
    "output.path",
    "output.table",
    "output.folder",
    "read_files",
}
"""Settings that no option sets alone."""


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_default_that_is_shown_means_the_default_of_the_settings(option: Option) -> None:
    if option.default is not None:
        values = {option.name: option.read(option.flag, option.default)}
        assert to_settings(values, (), lambda name: name) == Settings()


def test_the_durations_that_a_refusal_names_are_read_as_they_say() -> None:
    window = BY_NAME["batch_window"]
    with pytest.raises(UsageError) as refused:
        window.read(window.flag, "a week")
    said = str(refused.value.hint).removeprefix("Examples: ").rstrip(".").split(", ")
    assert [window.read(window.flag, one) for one in said] == [90.0, 90.0, 600.0, 7200.0, 604800.0]


def test_every_setting_comes_from_an_option_and_every_option_arrives_in_one() -> None:
    fields = set()
    for group in Settings._fields:
        settings = getattr(Settings(), group)
        fields |= {f"{group}.{name}" for name in settings._fields} if hasattr(settings, "_fields") else {group}
    places = {".".join(filter(None, option.place)) for option in OPTIONS if option.place is not None}
    assert places == fields - DERIVED


def test_what_python_takes_are_the_options_that_have_an_argument() -> None:
    assert Options.__annotations__.keys() - {API_KEY} == {o.argument for o in OPTIONS if o.argument is not None}


def test_the_words_that_python_takes_are_those_of_the_flag() -> None:
    hints = get_type_hints(Options)
    for option in OPTIONS:
        for words in _literals(hints.get(option.argument or "")):
            assert set(words) <= set(option.kind.choices), option.name


def test_flags_and_variables_are_there_once() -> None:
    flags = [flag for option in ALL_FLAGS for flag in (option.flag, option.short) if flag]
    assert len(set(flags)) == len(flags)
    for option in OPTIONS:
        assert option.panel.lower() in Settings._fields and option.help.endswith((".", "...")), option.name
        assert bool(option.shown_values) == (option.kind.type is not bool), option.name


def test_words_that_are_completed_are_words_that_are_read() -> None:
    assert kinds.FORMAT.choices == FORMATS
    assert set(request_kinds.REASONS.choices) <= {*REASONS, "refusal"}
    for option in OPTIONS:
        for word in option.kind.choices:
            option.read(option.flag, [word] if option.repeats else word)


ALIKE: list[tuple[str, Any, Any, Any]] = [
    ("timeout", "10m", 600, 600.0),
    ("wait_ready", "0", 0, 0.0),
    ("max_failures", "5%", "5%", Tolerance(share=0.05)),
    ("max_failures", "10", 10, Tolerance(count=10)),
    ("concurrency", "7", 7, 7),
    ("concurrency", "auto", "auto", None),
    ("pack", "3", 3, 3),
    ("shard", "2/4", (2, 4), (2, 4)),
    ("meta", "a,b", ["a", "b"], ("a", "b")),
    ("param", ["top_p=1", "stop=x"], {"top_p": 1, "stop": "x"}, {"top_p": 1, "stop": "x"}),
    ("header", ["X-Title: mine"], {"X-Title": "mine"}, {"X-Title": "mine"}),
    ("include", ["request,input"], ["request", "input"], frozenset({"request", "input"})),
    ("base_url", ["http://a/v1"], "http://a/v1", ("http://a/v1",)),
    ("fail_on_finish", "length", ["length"], frozenset({"length"})),
    ("price", "0.15,0.60", (0.15, 0.6), (0.15, 0.6)),
    ("redo", "schema", "schema", Redo(kinds=frozenset({"schema"}))),
    ("output", "out.csv", Path("out.csv"), (Path("out.jsonl"), Path("out.csv"), None)),
    ("output", "out/", "out/", (None, None, Path("out"))),
    ("part_size", "64MB", "64MB", PartSize(64_000_000, "bytes")),
    ("part_size", "20k", 20_000, PartSize(20_000)),
    ("key_file", Path("key"), "key", Path("key")),
    ("reuse", ["a", "b"], [Path("a"), "b"], ("a", "b")),
]


@pytest.mark.parametrize(("name", "text", "value", "setting"), ALIKE, ids=[str(row[1])[:20] for row in ALIKE])
def test_text_and_python_values_mean_the_same(name: str, text: Any, value: Any, setting: Any) -> None:
    option = BY_NAME[name]
    assert option.read(option.flag, text) == option.read(option.argument or "", value) == setting


def _literals(hint: Any) -> list[tuple[Any, ...]]:
    """Return the words of each Literal in a type."""
    if get_origin(hint) is Literal:
        return [get_args(hint)]
    return [words for part in get_args(hint) for words in _literals(part)]
