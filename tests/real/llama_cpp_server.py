"""The installed command against llama.cpp's server and a tiny Llama made on the spot: `make real`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.command import Command, lines_of
from tests.real.serving import BIN, CAP, PATIENCE, Served, free_port, make_model, served

PROMPTS = [f"fact about the number {number}" for number in range(12)]
SLOTS, CONTEXT = 4, 512
"""Requests that are answered at once, and the tokens that each may have: a token is a byte."""


def server_program() -> str | Path:
    """Return llama-server: the one on the path, or the one that `make real` has installed."""
    installed = next(BIN.parent.glob("lib/python*/site-packages/*/bin/llama-server"), None)
    found = shutil.which("llama-server") or shutil.which("llama-server", path=BIN) or installed
    assert found is not None, "there is no llama-server: make real installs one, or put one on the path"
    return found


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama.cpp") / "tiny.gguf"
    make_model("tiny_gguf.py", path)
    return path


def serve(gguf: Path, port: int, *more: str) -> Any:
    where = ("--host", "127.0.0.1", "--port", str(port), "--threads", "1")
    slots = ("--parallel", str(SLOTS), "--ctx-size", str(SLOTS * CONTEXT))
    return served((server_program(), "--model", gguf, *where, *slots, *more), port, gguf.with_name("log"))


@pytest.fixture(scope="module")
def server(gguf: Path) -> Iterator[Served]:
    with serve(gguf, free_port()) as url:
        yield Served(url, "tiny")


@pytest.fixture
def llmbatch(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    command.close()


def test_chat_answers_are_those_of_the_official_client(server: Served, llmbatch: Command, tmp_path: Path) -> None:
    run = ("run", *server("--temperature", "0", "-o", "out.jsonl"))
    done = llmbatch(*run, stdin=PROMPTS, timeout=PATIENCE)
    assert done.code == 0, done.stderr
    lines = sorted(lines_of(tmp_path / "out.jsonl"), key=lambda line: line["index"])
    with openai.OpenAI(base_url=server.url, api_key="none", timeout=PATIENCE) as client:
        for prompt, line in zip(PROMPTS[:3], lines, strict=False):
            asked: Any = [{"role": "user", "content": prompt}]
            answer = client.chat.completions.create(model="tiny", messages=asked, max_tokens=CAP, temperature=0)
            assert (line["text"], line["finish_reason"]) == (answer.choices[0].message.content, "length")
            assert answer.usage and line["usage"]["input_tokens"] == answer.usage.prompt_tokens
            assert line["usage"]["output_tokens"] == answer.usage.completion_tokens == CAP
    again = llmbatch(*run, stdin=PROMPTS, timeout=PATIENCE)
    assert again.code == 0 and [line["attempts"] for line in lines_of(tmp_path / "out.jsonl")] == [1] * len(PROMPTS)


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "messages"])
def test_a_stream_says_what_the_whole_answer_does(endpoint: str, server: Served, llmbatch: Command) -> None:
    run = ("run", *server("--temperature", "0", "--endpoint", endpoint, "--ordered"))
    runs = [llmbatch(*run, *how, stdin=PROMPTS, timeout=PATIENCE) for how in ((), ("--stream",))]
    assert [done.code for done in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    for whole, streamed in zip(*(done.results for done in runs), strict=True):
        assert whole["text"] and whole["usage"]["output_tokens"] == CAP
        assert all(whole[name] == streamed[name] for name in ("text", "key", "finish_reason", "model"))
        assert all(whole["usage"][name] == streamed["usage"][name] for name in ("input_tokens", "output_tokens"))


def test_embeddings_are_those_of_the_official_client(gguf: Path, llmbatch: Command) -> None:
    # With the mean of all tokens the server itself answers otherwise, depending on what shares its batch.
    with serve(gguf, free_port(), "--embeddings", "--pooling", "last") as url:
        run = ("run", "--base-url", url, "-m", "tiny", "--endpoint", "embeddings", "--ordered")
        done = llmbatch(*run, stdin=PROMPTS, timeout=PATIENCE)
        assert done.code == 0, done.stderr
        assert max(line.get("packed", 1) for line in done.results) > 1
        with openai.OpenAI(base_url=url, api_key="none", timeout=PATIENCE) as client:
            answer = client.embeddings.create(model="tiny", input=PROMPTS, encoding_format="float")
        for line, expected in zip(done.results, answer.data, strict=True):
            assert line["embedding"] == pytest.approx(expected.embedding, abs=1e-4)


def test_a_server_without_embeddings_ends_the_run_at_once(server: Served, llmbatch: Command) -> None:
    done = llmbatch("run", "--base-url", server.url, "-m", "tiny", "--endpoint", "embeddings", stdin=PROMPTS)
    assert done.code == 4 and "--embeddings" in done.stderr


def test_answers_fit_a_schema(server: Served, llmbatch: Command, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["yes", "no"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    done = llmbatch("run", *server("--schema", "schema.json", "--max-tokens", "99"), stdin=PROMPTS, timeout=PATIENCE)
    assert done.code == 0, done.stderr
    assert {line["json"]["label"] for line in done.results} <= {"yes", "no"}


def test_a_prompt_beyond_the_context_fails_alone(server: Served, llmbatch: Command) -> None:
    done = llmbatch("run", *server("--ordered"), stdin=[*PROMPTS, "a" * 2 * CONTEXT, *PROMPTS], timeout=PATIENCE)
    assert done.code == 1
    (failed,) = [line for line in done.results if line["status"] != "ok"]
    assert (failed["index"], failed["error"]["kind"], failed["attempts"]) == (len(PROMPTS), "context_length", 1)


@pytest.mark.parametrize("concurrency", ["auto", "16"])
def test_four_slots_queue_what_is_more(concurrency: str, server: Served, llmbatch: Command) -> None:
    run = ("run", "--base-url", server.url, "-p", "llamacpp", "-m", "tiny", "--max-tokens", "64", "-c", concurrency)
    done = llmbatch(*run, stdin=[*PROMPTS] * 5, timeout=PATIENCE)
    assert done.code == 0, done.stderr
    assert [line["attempts"] for line in done.results] == [1] * 5 * len(PROMPTS)


def test_a_server_that_starts_later_and_is_lost_in_between_is_waited_for(gguf: Path, llmbatch: Command) -> None:
    port = free_port()
    run = ("run", "--base-url", f"http://127.0.0.1:{port}/v1", "-m", "tiny", "--max-tokens", "8", "-c", "1")
    running = llmbatch.start(*run, "--wait-ready", "60")
    running.write("a")
    with serve(gguf, port):
        assert running.read_line()["status"] == "ok"
    running.write(*PROMPTS)
    running.end_input()
    with serve(gguf, port):
        done = running.end(PATIENCE)
    assert done.code == 0, done.stderr
    assert [line["status"] for line in done.results] == ["ok"] * len(PROMPTS)
