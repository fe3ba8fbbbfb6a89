"""The corpus of answers, over real sockets: each is read alike however it arrives, and a stream as the answer without.

The README of this folder says how to add one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvloop

from llmbatch.transport.httpx_lane import HttpxLane
from llmbatch.transport.lane import Http11Lane
from tests.support.deep import DEEP

from .corpus import CASES, Case
from .replay import Replay, replaying

EVERY_BYTE = 2048 if DEEP else 256
"""Answers up to here are cut at every byte by our lane; larger ones at this many."""
SOME = 64
"""Cuts of the other lane, which only hands bytes to a parser that is not ours."""
LANES: dict[str, type[Http11Lane] | type[HttpxLane]] = {"ours": Http11Lane, "reference": HttpxLane}


def run(scene: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene)


def cuts(case: Case, most: int) -> Sequence[int]:
    """Choose where an answer is cut in two: everywhere, or around its head and evenly."""
    last = len(case.answer) - 1
    if last <= most:
        return range(1, last + 1)
    edge = case.head_ends
    return sorted({*(last * step // most for step in range(1, most)), edge - 1, edge, edge + 1})


@pytest.mark.parametrize(("name", "lane"), [(name, lane) for name, case in CASES.items() for lane in case.lanes])
def test_an_answer_is_read_the_same_however_it_arrives(name: str, lane: str) -> None:
    case = CASES[name]

    async def check(replay: Replay, pieces: list[bytes], how: str) -> None:
        problems = case.problems(*await replay.read(case, pieces))
        assert not problems, f"{name}, {how}: {'; '.join(problems)} (source: {case.source})"

    async def scene() -> None:
        async with replaying(LANES[lane]) as replay:
            await check(replay, [case.answer], "whole")
            for at in cuts(case, EVERY_BYTE if lane == "ours" else SOME):
                await check(replay, [case.answer[:at], case.answer[at:]], f"cut at {at}")
            step = max(1, len(case.answer) // EVERY_BYTE)
            drops = [case.answer[at : at + step] for at in range(0, len(case.answer), step)]
            await check(replay, drops, "dripped")

    run(scene())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.whole_form in CASES])
def test_a_stream_is_read_as_the_answer_without_streaming(name: str) -> None:
    stream = CASES[name]
    assert stream.whole_form is not None
    whole = CASES[stream.whole_form]

    async def scene() -> None:
        async with replaying(Http11Lane) as replay:
            streamed, again, stops = await replay.read(stream, [stream.answer])
            plain, *rest = await replay.read(whole, [whole.answer])
            own = {"started_at", "latency_s", "request_id", "response", *stream.differs}
            for one, other in zip(streamed, plain, strict=True):
                assert _without(one, own) == _without(other, own)
            assert [again, stops] == rest

    run(scene())


@pytest.mark.parametrize("name", CASES)
def test_an_answer_that_breaks_off_is_never_another_answer(name: str) -> None:
    case = CASES[name]

    async def scene() -> None:
        async with replaying(Http11Lane) as replay:
            for at in cuts(case, SOME):
                lines, _, _ = await replay.read(case, [case.answer[:at]], closes=True)
                for line, expected in zip(lines, case.lines, strict=True):
                    if line["status"] == "ok":
                        assert expected["status"] == "ok", f"an answer when cut off at {at}: {line}"
                        for word in ("text", "embedding", "json"):
                            assert word not in expected or line.get(word) == expected[word], f"cut off at {at}: {line}"

    run(scene())


def test_the_corpus_is_there() -> None:
    assert CASES
    assert all(case.source.startswith(("https://", "own")) for case in CASES.values())


def _without(line: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in names}
