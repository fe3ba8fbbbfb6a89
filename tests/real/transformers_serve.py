"""The installed command against `transformers serve` and a tiny Llama made on the spot: `make real`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.command import Command, lines_of
from tests.real.serving import BIN, CAP, PATIENCE, Served, free_port, make_model, served

PROMPTS = [f"fact about the number {number}" for number in range(12)]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("real")
    model, port = folder / "tiny-llama", free_port()
    make_model("tiny_llama.py", model)
    where = ("--device", "cpu", "--host", "127.0.0.1", "--port", str(port))
    with served((BIN / "transformers", "serve", model, *where), port, folder / "log") as url:
        yield Served(url, str(model))


@pytest.fixture
def llmbatch(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    command.close()


def _by_prompt(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert [line["status"] for line in done] == ["ok"] * len(PROMPTS)
    return sorted(done, key=lambda line: line["index"])


def test_chat_answers_are_those_of_the_official_client(server: Served, llmbatch: Command, tmp_path: Path) -> None:
    done = llmbatch("run", *server("-o", "out.jsonl"), stdin=PROMPTS, timeout=PATIENCE)
    assert done.code == 0, done.stderr
    lines = _by_prompt(lines_of(tmp_path / "out.jsonl"))
    with openai.OpenAI(base_url=server.url, api_key="none", timeout=PATIENCE) as client:
        for prompt, line in zip(PROMPTS[:3], lines, strict=False):
            asked: Any = [{"role": "user", "content": prompt}]
            answer = client.chat.completions.create(model=server.model, messages=asked, max_tokens=CAP)
            assert (line["text"], line["finish_reason"]) == (answer.choices[0].message.content, "length")
            assert answer.usage and line["usage"]["input_tokens"] == answer.usage.prompt_tokens
            assert line["usage"]["output_tokens"] == answer.usage.completion_tokens == CAP
    again = llmbatch("run", *server("-o", "out.jsonl"), stdin=PROMPTS, timeout=PATIENCE)
    assert again.code == 0 and [line["attempts"] for line in lines_of(tmp_path / "out.jsonl")] == [1] * len(PROMPTS)


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_stream_says_what_the_whole_answer_does(endpoint: str, server: Served, llmbatch: Command) -> None:
    runs = [
        llmbatch("run", *server("--endpoint", endpoint, *how), stdin=PROMPTS, timeout=PATIENCE)
        for how in ((), ("--stream",))
    ]
    assert [done.code for done in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    for whole, streamed in zip(*(_by_prompt(done.results) for done in runs), strict=True):
        # The server keeps the bytes of an unfinished character back when it streams.
        assert whole["text"] and whole["text"].startswith(streamed["text"].rstrip("\ufffd"))
        assert (whole["key"], whole["usage"]) == (streamed["key"], streamed["usage"])
        assert whole["finish_reason"] == streamed["finish_reason"] == "length"
