"""The end of a run on a screen of any width."""

from array import array
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from llmbatch.core.tally import FailureExample, ModelTally, ServerTraffic, Summary
from llmbatch.ui.closing import closings_of
from llmbatch.ui.summary import show_summary
from llmbatch.ui.symbols import ASCII, UNICODE, Symbols

MODELS = {
    name: ModelTally(ok, ok + failed, 1234.5678 / n, array("f", [0.1 * n] * 9), failed, 12_345_678, 7_654_321, 1_000)
    for n, (name, ok, failed) in enumerate(
        [("anthropic/claude-sonnet-4-5-20250929-of-a-long-name", 300, 7), ("gpt-x", 200, 0), ("宽" * 30, 93, 0)], 1
    )
}
SUMMARY = Summary(
    read=600,
    ok=593,
    failed={"rate_limited": 5, "invalid_record": 2},
    examples={
        "rate_limited": FailureExample("q17", 16, 429, "Bearer sk-secret is over its limit, come back later\x1b[2J"),
        "invalid_record": FailureExample(None, 59, None, "line 60, column 5: not JSON"),
    },
    not_started=0,
    unwritten=0,
    requests=612,
    retries=12,
    possibly_billed=1,
    input_tokens=12_345_678,
    output_tokens=7_654_321,
    cached_input_tokens=8_000_000,
    cost_usd=0.0214,
    models=MODELS,
    servers=[ServerTraffic("http://gpu-3.a-long-name.example.org:8000/v1", 400, 390, 10)] * 2,
    wall_s=9.8,
    waited_s=3.3,
    limited_by={"wall": 0.62, "growing": 0.1},
    latency_s={"p50": 0.82, "p95": 2.1, "p99": 4.0},
    stopped=None,
    hint=None,
    exit_code=1,
)


def shown(summary: Summary, width: int = 100, symbols: Symbols = UNICODE) -> list[str]:
    screen = StringIO()
    console = Console(file=screen, width=width, color_system=None, markup=False, highlight=False)
    show_summary(console, summary, symbols, lambda text: text.replace("sk-secret", "[key]"))
    return screen.getvalue().splitlines()


def test_the_first_line_is_the_verdict() -> None:
    assert shown(SUMMARY)[0] == "✗ 593 of 600 answered · 7 failed · 9.8 s · $0.0214"
    good = replace(SUMMARY, ok=600, failed={}, examples={}, exit_code=0)
    assert shown(good)[0] == "✓ 600 of 600 answered · 9.8 s · $0.0214"
    stopped = replace(SUMMARY, ok=80, failed={}, not_started=520, stopped="interrupted by Ctrl-C", exit_code=130)
    assert shown(stopped)[0] == "• 80 of 600 answered · 520 not sent · 9.8 s · $0.0214"
    assert shown(replace(stopped, read_whole=False))[0].startswith("• 80 of the first 600 answered · 520 not sent")
    unread = replace(stopped, read=0, ok=0, not_started=0, read_whole=False, exit_code=6, cost_usd=None)
    assert shown(unread)[0] == "✗ nothing sent · 9.8 s"
    held = replace(SUMMARY, ok=590, failed={}, done_before=7, held=3, exit_code=7, cost_usd=None)
    assert shown(held)[0] == "• 597 of 600 answered · 3 in doubt · 9.8 s"
    assert shown(SUMMARY, symbols=ASCII)[0] == "failed: 593 of 600 answered, 7 failed, 9.8 s, $0.0214"


def test_what_was_dropped_in_flight_is_in_doubt_with_its_number_wherever_the_end_is_told() -> None:
    dropped = replace(SUMMARY, ok=80, failed={}, dropped=12, held=3, not_started=505, stopped="Ctrl-C", exit_code=130)
    lines = shown(dropped)
    assert lines[0] == "• 80 of 600 answered · 15 in doubt · 505 not sent · 9.8 s · $0.0214"
    assert "in doubt   3 held · 12 dropped in flight" in lines
    closings = closings_of(dropped, Path("out.jsonl"), "llmbatch run")
    assert "80 answers in out.jsonl; 15 in doubt" in [text for _, text, _ in closings]
    only_dropped = replace(dropped, held=0)
    assert "in doubt   12 dropped in flight" in shown(only_dropped)


def test_each_kind_of_failure_has_a_record_and_a_message_without_secrets() -> None:
    text = "\n".join(shown(SUMMARY))
    assert "5 rate_limited    id q17 · HTTP 429: Bearer [key] is over its limit" in text
    assert "2 invalid_record  record 59 · line 60, column 5: not JSON" in text
    assert "\x1b" not in text and "sk-secret" not in text


def test_what_limited_the_run_and_what_it_took_are_said() -> None:
    text = "\n".join(shown(SUMMARY))
    assert "limited by refusals 62% of the time · finding the pace 10%" in text
    assert "latency    p50 820 ms · p95 2.1 s · p99 4 s · " in text
    assert "8,000,000 in from cache (65%)" in text and "12 sent again" in text


def test_a_message_without_room_beside_its_kind_stands_below_it() -> None:
    lines = shown(SUMMARY, 60)
    place = next(place for place, line in enumerate(lines) if "rate_limited" in line)
    assert lines[place] == "failed     5 rate_limited"
    assert lines[place + 1].startswith("             id q17 · HTTP 429: Bearer [key] is over")


def test_a_single_answer_has_no_percentiles() -> None:
    one = {"m": ModelTally(1, 1, None, array("f", [0.82]), 0, 5, 7, 0)}
    text = "\n".join(shown(replace(SUMMARY, models=one, latency_s={"p50": 0.82, "p95": 0.82, "p99": 0.82})))
    assert "latency    820 ms\n" in text and "p95" not in text


@pytest.mark.parametrize("symbols", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_screen_and_no_number_is_broken(width: int, symbols: Symbols) -> None:
    lines = shown(SUMMARY, width, symbols)
    assert all(cell_len(line) <= width for line in lines)
    numbers = {"593", "600", "612", "12,345,678", "7,654,321", "300", "200", "93"}
    assert numbers <= {word.strip(",") for line in lines for word in line.split()}
    if symbols is ASCII:
        assert all(line.isascii() for line in lines if "宽" not in line and "\N{REPLACEMENT CHARACTER}" not in line)


def test_what_batches_answered_and_what_is_in_them_is_said() -> None:
    (line,) = (line for line in shown(replace(SUMMARY, collected=239, pending=1)) if line.startswith("batches"))
    assert line == "batches    1 record is with the provider · 239 collected"


def test_a_run_without_records_is_summed_up_too() -> None:
    empty = replace(
        SUMMARY,
        read=0,
        ok=0,
        failed={},
        examples={},
        models={},
        servers=[],
        requests=0,
        latency_s={},
        limited_by={},
        wall_s=0.0,
        cost_usd=None,
        exit_code=0,
    )
    assert shown(empty)[0] == "✓ no records · 0 ms"


@pytest.mark.parametrize(
    ("failed", "before", "step"),
    [
        ({"invalid_record": 2, "duplicate_id": 1}, 0, "correct these records in the input"),
        ({"invalid_record": 2}, 1, "correct these records in the input"),
        ({"rate_limited": 1}, 0, "the same command sends what failed again"),
        (
            {"invalid_record": 2, "schema": 1, "rate_limited": 1},
            0,
            "the same command sends what failed again, but not invalid_record and schema",
        ),
        ({"schema": 2}, 0, "the same command sends none of these again; --redo all does"),
        ({}, 1, "the same command keeps these failures; it sends records that you correct"),
    ],
)
def test_the_same_command_is_named_only_where_it_helps(failed: dict[str, int], before: int, step: str) -> None:
    summary = replace(SUMMARY, failed=failed, failed_before=before)
    assert any(text.startswith(step) for _, text, _ in closings_of(summary, Path("out.jsonl"), "llmbatch run"))
