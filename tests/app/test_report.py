"""Results folded into an account."""

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.app.report import report
from llmbatch.core.counts import MOST_NAMES, OTHER
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import Stats, StatsByModel
from llmbatch.ui.report import account_text
from llmbatch.ui.report_html import report_page
from llmbatch.ui.report_markdown import report_markdown
from llmbatch.ui.symbols import UNICODE
from tests.support.deep import examples
from tests.support.result_lines import failed, ok, put

NASTY = "\x1b]0;x\x07\x9b31m<script>&\u202e[/x]\"'"


def book_of(lines: list[Any]) -> StatsByModel:
    book = StatsByModel()
    book.files = 1
    for line in lines:
        book.add(line)
    return book


def test_what_batches_took_is_no_latency_of_the_service() -> None:
    lines = [ok("a", 0, latency_s=1.0), ok("b", 1, latency_s=40_000.0, batch="batch_1")]
    assert book_of(lines).as_json()["latency_s"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0}
    highlights = Highlights()
    for line in lines:
        highlights.add(line)
    assert [example.id for example in highlights.slowest] == ["a"]


def test_everything_is_added_up(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl", [ok("a", 0, cost_usd=0.5, latency_s=1.0), failed("b", 1, possibly_billed=1)])
    two = put(
        tmp_path / "2.jsonl", [ok("c", 0, model="m-2", attempts=3, latency_s=3.0), failed("d", 1, "timeout", None)]
    )
    total = report([one, two], notice=pytest.fail).as_json()
    models = total.pop("models")
    assert total == {
        "files": 2,
        "records": 4,
        "ok": 2,
        "failed": 2,
        "failures": {"bad_request": 1, "timeout": 1},
        "requests": 8,
        "retries": 4,
        "possibly_billed": 1,
        "billed_failures": 0,
        "reused": 0,
        "deduplicated": 0,
        "input_tokens": 6,
        "output_tokens": 10,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": 0.5,
        "priced": 1,
        "unpriced": 1,
        "latency_s": {"p50": 0.1, "p95": 3.0, "p99": 3.0},
        "first_started_at": "2026-11-22T10:00:00.123Z",
        "last_started_at": "2026-11-22T10:00:01.000Z",
        "elapsed_s": 3.0,
        "records_per_s": 1.333,
    }
    assert models.keys() == {"m-1", "m-2"} and models["m-2"]["requests"] == 3


def test_an_unknown_price_is_no_price() -> None:
    total = book_of([ok("a", 0)]).as_json()
    assert total["cost_usd"] is None
    assert b"cost" not in account_text(book_of([ok("a", 0)]), None, UNICODE)


def test_answers_without_a_price_are_told_but_not_those_that_were_paid_elsewhere() -> None:
    paid = [ok("a", 0, cost_usd=0.5), failed("b", 1, cost_usd=0.25), ok("c", 2, reused=True)]
    assert b"without a price" not in account_text(book_of(paid), None, UNICODE)
    assert "· 1 answer without a price".encode() in account_text(book_of([*paid, ok("d", 3)]), None, UNICODE)


def test_each_kind_of_failure_is_told_with_its_first_record_and_message() -> None:
    late = failed("b", 1, error={"kind": "timeout", "status": 504, "message": "late"})
    text = account_text(book_of([failed("a", 0), late, failed("c", 2), ok("d", 3)]), 100, UNICODE).decode()
    assert re.search(r"^ +1 timeout +id b · HTTP 504: late$", text, re.MULTILINE)
    assert re.search(r"^failed +2 bad_request +id a · ", text, re.MULTILINE)


def test_colours_are_the_only_difference_of_a_coloured_account() -> None:
    book = book_of([ok(None, 0), ok(None, 1, model="m-2"), failed(None, 2)])
    plain, colored = (account_text(book, 100, UNICODE, colored=colored).decode() for colored in (False, True))
    assert "\x1b[1;31m✗" in colored and re.sub("\x1b\\[[0-9;]*m", "", colored) == plain


def test_nothing_at_all_is_an_account_too() -> None:
    assert book_of([]).as_json()["latency_s"] == {}
    assert b"records" in account_text(StatsByModel(), None, UNICODE) and b"records" in report_page(
        StatsByModel(), Highlights(), []
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = ("error", "usage", "cost_usd", "latency_s", "attempts", "started_at", "model", "possibly_billed", "billed")


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.dictionaries(st.sampled_from(NAMES), JUNK)), max_size=6))
def test_no_field_is_trusted(lines: list[tuple[bool, dict[str, Any]]]) -> None:
    book = book_of([(ok if fine else failed)(None, 0, **more) for fine, more in lines])
    total = book.as_json()
    assert total["ok"] + total["failed"] == total["records"] == len(lines)
    json.dumps(total, allow_nan=False)
    account_text(book, 80, UNICODE)
    highlights = Highlights()
    for fine, more in lines:
        highlights.add((ok if fine else failed)(None, 0, **more))
    report_page(book, highlights, ["r.jsonl"])
    report_markdown(book, highlights)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.sampled_from(["m-1", "m-2", "m-3", None]), max_size=12))
def test_the_total_is_the_sum_of_the_models(models: list[str | None]) -> None:
    lines = [ok(None, 0, model=model, cost_usd=0.25, latency_s=place) for place, model in enumerate(models)]
    one = Stats()
    for line in lines:
        one.add(line)
    book = book_of(lines)
    assert book.total().as_json() == one.as_json()
    assert Counter({name: account.records for name, account in book.by_model() if name != "(none)"}) == Counter(
        model for model in models if model
    )


def test_names_without_end_are_not_told_apart_for_ever() -> None:
    book = book_of([ok(None, 0, model=f"m{n}") for n in range(500)] + [failed(None, 0, f"k{n}") for n in range(500)])
    assert len(book.models) <= MOST_NAMES + 2 and OTHER in book.models
    total = book.total()
    assert len(total.failures) <= MOST_NAMES + 1 and total.records == 1000


@pytest.mark.parametrize("width", [20, 80, None])
def test_nothing_from_a_file_drives_the_terminal_nor_makes_a_line_too_wide(width: int | None) -> None:
    book = book_of([ok(None, 0, model=NASTY * 9), ok(None, 0, model="漢" * 300), failed(None, 0, NASTY)])
    text = account_text(book, width, UNICODE).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert width is None or max(map(len, text.splitlines())) <= width


def test_the_page_holds_no_markup_of_others() -> None:
    lines = [
        ok(NASTY, 0, NASTY, model=NASTY),
        ok(None, 0),
        failed(NASTY, 0, NASTY, error={"kind": NASTY, "message": NASTY}),
    ]
    highlights = Highlights()
    for line in lines:
        highlights.add(line)
    page = report_page(book_of(lines), highlights, [f"{NASTY}.jsonl"])
    text = page.decode()
    assert "<script" not in text and "\x1b" not in text and "default-src 'none'" in text
    assert html.escape("<script>&") in text


def test_models_have_lines_of_their_own_when_there_are_several() -> None:
    text = account_text(book_of([ok(None, 0), ok(None, 1, model="m-2"), failed(None, 2)]), 100, UNICODE).decode()
    assert re.search(r"m-2 +1 +1 +0 ", text) and "(none)" in text
    assert "m-1" not in account_text(book_of([ok(None, 0), failed(None, 1)]), 100, UNICODE).decode()


def test_a_torn_end_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    name = put(tmp_path / "r.jsonl", [ok("a", 0), b'{"id":"b"'])
    assert report([name], notice=said.append).as_json()["records"] == 1
    assert said and "piece of a line" in said[0]


def test_an_alias_that_only_failed_is_the_dated_model_that_answered() -> None:
    lines = [ok("a", 0, model="m-2026-05-01"), failed("b", 1, model="m"), failed("c", 2, model="other")]
    book = book_of(lines)
    assert {name: (stats.ok, stats.failed) for name, stats in book.by_model()} == {
        "m-2026-05-01": (1, 1),
        "other": (0, 1),
    }
    assert book.total().records == 3 and book.as_json()["models"].keys() == {"m-2026-05-01", "other"}


@pytest.mark.parametrize(
    ("answered", "asked"),
    [
        (["m-20260501"], "m-latest"),
        (["m@20260501"], "m"),
        (["m-0501"], "m"),
        (["gemini-2.0-flash-001"], "gemini-2.0-flash"),
    ],
)
def test_dates_are_written_in_many_ways(answered: list[str], asked: str) -> None:
    assert book_of([*(ok("a", 0, model=name) for name in answered), failed("b", 1, model=asked)]).named().keys() == {
        *answered
    }


@pytest.mark.parametrize(
    "answered", [["m-pro-2026-05-01"], ["m-70b"], ["m-2026-05-01", "m-2026-06-01"], ["m2026"], ["x"]]
)
def test_other_models_stay_apart(answered: list[str]) -> None:
    """Nor is it known which of two dated models was asked."""
    assert "m" in book_of([*(ok("a", 0, model=name) for name in answered), failed("b", 1, model="m")]).named()
