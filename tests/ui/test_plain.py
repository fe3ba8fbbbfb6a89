"""The progress line where there is no terminal, and the two lines on one."""

import json
from io import StringIO
from threading import Event

import pytest
from rich.console import Console
from rich.text import Text

from llmbatch.core.snapshot import BatchesState, Cause, RouteState, Snapshot
from llmbatch.ui import plain
from llmbatch.ui.live import render
from llmbatch.ui.metrics import exposition
from llmbatch.ui.plain import progress_line
from llmbatch.ui.symbols import UNICODE

NOW = Snapshot(
    ok=598,
    failed=2,
    in_flight=64,
    waiting=0,
    limit=64,
    wall=100.0,
    rate=2.0,
    fraction=0.8,
    eta=75.0,
    input_tokens=0,
    output_tokens=0,
    cost=None,
    routes=(RouteState("m", 64, 64, Cause.CEILING),),
)


def shown(now: Snapshot) -> tuple[str, str]:
    screen = StringIO()
    Console(file=screen, width=200).print(Text("\n").join(render(now, UNICODE, 200, 50)))
    return progress_line(now), screen.getvalue()


def test_both_rates_are_shown_where_they_differ() -> None:
    for text in shown(NOW):
        assert "2.0/s (6.0/s on average)" in text and "80%" in text
    assert "average" not in shown(NOW._replace(rate=6.0))[0]


def test_the_time_left_is_that_of_the_snapshot_and_none_is_made_up() -> None:
    for text in shown(NOW):
        assert "ETA 1:15" in text
    for text in shown(NOW._replace(eta=None, fraction=None)):
        assert "ETA" not in text and "%" not in text
    for text in shown(NOW._replace(stopping=True, eta=3.0)):
        assert "stopping" in text and "0:03" in text and "ETA" not in text


@pytest.mark.parametrize("closed_for", [0.0, 12.0])
def test_what_limits_each_route_is_said(closed_for: float) -> None:
    wall = RouteState("other", 1, 1, Cause.WALL, closed_for=closed_for, reason="rate limited" if closed_for else None)
    now = NOW._replace(routes=(*NOW.routes, wall))
    words = "rate limited, 12 s" if closed_for else "the server refuses more"
    for text in shown(now):
        assert f"m: at the ceiling of 64 in flight; other: {words}" in text
    assert f"llmbatch_held_seconds {closed_for}" in exposition(now, 0.0)
    assert "llmbatch_records_per_second 2.0" in exposition(now, 0.0)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            BatchesState(2, 100_000, 61_204, 11_520.0, 86_400.0, 0, 1, "gpt-x"),
            (
                "2 batches running, 61,204 of 100,000 answered, oldest 3 h 12 min of 24 h, "
                "1 waits for room in the queue of gpt-x"
            ),
        ),
        (BatchesState(1, 50, None, 60.0, 86_400.0), "1 batch running, 50 records, 1 min of 24 h"),
        (
            BatchesState(1, 50, 20, 60.0, 86_400.0, 2),
            "1 batch running, 20 of 50 answered, 1 min of 24 h, 2 more on the way to the provider",
        ),
        (BatchesState(0, 0, None, 0.0, 0.0, 1), "1 batch on the way to the provider"),
        (
            BatchesState(0, 0, None, 0.0, 0.0, trouble="the upload fails (503): busy\x1b[2J"),
            "0 batches running, the upload fails (503): busy",
        ),
    ],
)
def test_where_batches_stand_is_said_and_why_they_do_not_move(state: BatchesState, words: str) -> None:
    for line in shown(NOW._replace(batches=state)):
        assert words in " ".join(line.split()) and "\x1b[2J" not in line


def test_a_log_of_json_has_the_figures_of_the_progress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plain, "EVERY", 0.001)
    begun = Event()
    with plain.json_view(lambda: (begun.set(), NOW)[1]):
        begun.wait(60)
    first = json.loads(capfd.readouterr().err.splitlines()[0])
    assert first["progress"] | {"ok": 598, "failed": 2, "in_flight": 64, "eta_s": 75} == first["progress"]
    assert "598 ok" in first["message"] and first["time"]
