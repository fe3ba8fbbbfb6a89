"""Answers that take long are read beside the event loop, within a bound, and are kept when that is not enough."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from llmbatch.codec import json
from llmbatch.codec.schema import compiled
from llmbatch.core.exchange import Expected, ReadReply, Reply
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.outcome import Completion, UnusableAnswer
from llmbatch.dialects.answer_reader import MOST_PARTS, SMALL, AnswerReader
from llmbatch.dialects.structured_output import AnswerChecks
from llmbatch.transport_process import reader_pool
from llmbatch.transport_process.reader_pool import ReaderPool

PATIENCE = 60.0
ENDLESS = {"$ref": "#/$defs/d0", "$defs": {
    **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}, "d60": {"type": "integer"},
}}  # fmt: skip
CHAT = Expected("chat")
T = TypeVar("T")


def checking(schema: Any) -> AnswerReader:
    return AnswerReader(AnswerChecks(json=True, check=compiled(schema), again=True))


def answer(text: str, status: int = 200) -> Reply:
    body = json.dumps({"id": "a", "choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 3}})
    return Reply(status, {"x-request-id": "r"}, body)


def read(reader: AnswerReader, *replies: Reply, seconds: float = 9.0, expected: Expected = CHAT) -> list[ReadReply]:
    async def all_of_them() -> list[ReadReply]:
        with closing(ReaderPool(reader, seconds)) as pool:
            return await asyncio.wait_for(asyncio.gather(*(pool.read(expected, reply) for reply in replies)), PATIENCE)

    return asyncio.run(all_of_them())


def run(schema: Any, scene: Callable[[ReaderPool], Coroutine[Any, Any, T]]) -> T:
    async def in_time() -> T:
        with closing(ReaderPool(checking(schema), 9.0)) as pool:
            return await asyncio.wait_for(scene(pool), PATIENCE)

    return asyncio.run(in_time())


def test_an_answer_reads_the_same_beside_the_loop() -> None:
    reader = checking({"items": {"$ref": "#"}})
    for text in ("[[[1]]]", "7", "no JSON"):
        reply = answer(text)
        assert not reader.is_quick(reply)
        assert read(reader, reply) == [reader.read_reply(CHAT, reply)]


def test_an_endless_check_is_given_up_and_others_go_on_meanwhile() -> None:
    async def raced(pool: ReaderPool) -> tuple[list[str], ReadReply]:
        order: list[str] = []

        async def timed(name: str, text: str) -> ReadReply:
            result = await pool.read(CHAT, answer(text))
            order.append(name)
            return result

        endless = asyncio.create_task(timed("endless", '"x"'))
        await asyncio.sleep(0)
        for number in range(5):
            (verdict,), _ = await timed(f"{number}", "1")
            assert isinstance(verdict, Completion) and verdict.extra["json"] == 1
        return order, await endless

    order, ((verdict,), _) = run(ENDLESS, raced)
    assert order == ["0", "1", "2", "3", "4", "endless"]
    assert isinstance(verdict, UnusableAnswer)
    assert (verdict.kind, verdict.billing, verdict.retry) == (Kind.SCHEMA, Billing.BILLED, False)
    assert "not checked" in verdict.message and "1.0 s of CPU time" in verdict.message
    assert verdict.completion.text == '"x"' and verdict.completion.usage is not None


def test_the_bound_is_never_longer_than_an_attempt_may_take() -> None:
    (((verdict,), _),) = read(checking(ENDLESS), answer('"x"'), seconds=0.1)
    assert isinstance(verdict, Fault) and "0.1 s of CPU time" in verdict.message


def test_a_check_that_takes_too_much_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_pool, "MEMORY", 32 << 20)
    alike = {"type": "array", "items": {"$ref": "#"}}
    schema = {"oneOf": [alike, {**alike, "minItems": 2}, {"type": "string"}]}
    (((verdict,), _),) = read(checking(schema), answer("[" * 24 + "1" + "]" * 24))
    assert isinstance(verdict, UnusableAnswer) and "too much memory" in verdict.message


@pytest.mark.parametrize("ending", [b"\n", b"\r"])
def test_a_large_answer_of_many_parts_is_not_quick_and_one_of_few_is(ending: bytes) -> None:
    reader = AnswerReader()
    events = b"data: {}" + ending * 2
    assert reader.is_quick(Reply(200, {}, events * (SMALL // len(events))))
    assert not reader.is_quick(Reply(200, {}, events * MOST_PARTS))
    assert not reader.is_quick(Reply(200, {}, b"data: 1" + ending * SMALL))
    assert reader.is_quick(answer("x" * 5_000_000))


def test_a_large_answer_that_is_not_read_in_time_is_kept_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_pool, "SECONDS", 0.01)
    monkeypatch.setattr(reader_pool, "BYTES_PER_SECOND", 1 << 30)
    body = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 2 * MOST_PARTS
    pair = Expected("embeddings", (False, False))
    for expected in (CHAT, pair):
        ((verdicts, _),) = read(AnswerReader(), Reply(200, {}, body), expected=expected)
        assert len(verdicts) == len(expected.keeps)
        assert all(isinstance(one, Fault) and one.billing is Billing.BILLED for one in verdicts)
        assert [one.raw for one in verdicts if isinstance(one, Fault)] == [body, None][: len(verdicts)]
        assert isinstance(verdicts[0], Fault) and verdicts[0].kind is Kind.UNPARSABLE
    (((refused,), _),) = read(AnswerReader(), Reply(429, {"retry-after": "3"}, body))
    assert isinstance(refused, Fault) and refused.kind is Kind.RATE_LIMITED and refused.wait == 3


def test_a_process_that_is_killed_costs_one_answer_only() -> None:
    async def killed(pool: ReaderPool) -> tuple[ReadReply, ReadReply]:
        lost = asyncio.create_task(pool.read(CHAT, answer('"x"')))
        await asyncio.sleep(0)  # it starts a process
        os.kill(_children()[-1], signal.SIGKILL)
        return await lost, await pool.read(CHAT, answer("1"))

    ((lost,), _), ((good,), _) = run(ENDLESS, killed)
    assert isinstance(lost, UnusableAnswer) and "SIGKILL" in lost.message
    assert isinstance(good, Completion)


def test_where_no_process_can_be_started_answers_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(reader_pool.subprocess, "Popen", refused)
    reader = checking({"items": {"$ref": "#"}})
    assert read(reader, answer("[[1]]")) == [reader.read_reply(CHAT, answer("[[1]]"))]


def _children() -> list[int]:
    return [int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
