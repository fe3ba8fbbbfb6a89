"""Every endpoint by one command, alone, packed and mixed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import Command, Mock, lines_of


@pytest.mark.parametrize(
    ("endpoint", "usage"),
    [
        ("chat", {"input_tokens", "output_tokens"}),
        ("responses", {"input_tokens", "output_tokens"}),
        ("completions", {"input_tokens", "output_tokens"}),
        ("embeddings", {"input_tokens"}),
    ],
)
def test_a_prompt_works_at_every_endpoint(endpoint: str, usage: set[str], llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock("--endpoint", endpoint), stdin=["hi"])
    (line,) = done.results
    assert (done.code, line["status"], line["model"], line["meta"]) == (0, "ok", "mock-1", {})
    assert usage <= line["usage"].keys()
    if endpoint == "embeddings":
        assert len(line["embedding"]) == 8 and "text" not in line and "finish_reason" not in line
    else:
        assert line["text"].startswith("You asked: 'hi'") and line["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("endpoint", ["responses", "completions"])
def test_a_stream_gives_the_same_line(endpoint: str, llmbatch: Command, mock: Mock) -> None:
    plain, streamed = (
        llmbatch("run", *mock("--endpoint", endpoint, *flags), stdin=["hi"]).results[0] for flags in ((), ("--stream",))
    )
    assert streamed["status"] == "ok" and streamed["text"][:16] == plain["text"][:16]
    assert streamed["usage"].keys() == plain["usage"].keys() and streamed["key"] == plain["key"]


def test_lines_of_mixed_urls_and_models_each_go_to_their_own(llmbatch: Command, mock: Mock) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"model": "a", "messages": [{"role": "user", "content": "mixed"}]}),
        ("/v1/responses", {"model": "b", "input": "mixed"}),
        ("/v1/embeddings", {"model": "c", "input": "mixed"}),
        ("/v1/completions", {"model": "d", "prompt": "mixed"}),
        ("/v1/moderations", {"model": "e", "input": "mixed"}),
        ("https://elsewhere/v1/embeddings", {"model": "f", "input": "mixed"}),
    ]
    records = [{"custom_id": url, "method": "POST", "url": url, "body": body} for url, body in bodies]
    done = llmbatch("run", "--base-url", mock.base_url, stdin=records)
    lines = {line["id"]: line for line in done.results}
    assert done.code == 1
    assert [lines[url]["status"] for url, _ in bodies] == ["ok"] * 4 + ["failed"] * 2
    assert [lines[url]["model"] for url, _ in bodies[:4]] == ["a", "b", "c", "d"]
    assert [lines[url]["response"]["object"] for url, _ in bodies[:4]] == [
        "chat.completion",
        "response",
        "list",
        "text_completion",
    ]
    for url, _ in bodies[4:]:
        assert lines[url]["error"]["kind"] == "invalid_record" and "url" in lines[url]["error"]["message"]
    assert "--endpoint /moderations" in lines["/v1/moderations"]["error"]["message"]


def test_packed_inputs_cost_what_their_request_cost_and_a_refused_one_fails_alone(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    provider, out = start_mock(), tmp_path / "out.jsonl"
    records = [{"id": n, "prompt": f"{n} " + "x" * n} for n in range(20)]
    records[7]["prompt"] = "7 [[mock:status code=400]]"
    flags = provider("--endpoint", "embeddings", "--pack", "16", "--price", "1,0", "-c", "1", "-o", out, "-q")
    assert llmbatch("run", *flags, stdin=records).code == 1
    lines = sorted(lines_of(out), key=lambda line: line["id"])
    assert [line["id"] for line in lines if line["status"] == "failed"] == [7]
    assert lines[7]["error"]["status"] == 400 and "packed" not in lines[7] and 1 < lines[7]["attempts"] <= 5
    requests: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["status"] == "ok":
            requests.setdefault(line["request_id"], []).append(line)
    good = [entry for entry in provider.ledger() if entry["status"] == 200]
    assert len(requests) == len(good) < 8
    for entry in good:
        sharers = requests[f"req_{entry['n']}"]
        tokens = sum(-(-len(records[line["id"]]["prompt"]) // 4) for line in sharers)
        assert sum(line["usage"]["input_tokens"] for line in sharers) == tokens
        assert sum(line["cost_usd"] for line in sharers) == pytest.approx(tokens / 1e6, rel=1e-12)
        assert {line.get("packed", 1) for line in sharers} == {len(sharers)}
        assert len({line["latency_s"] for line in sharers}) == 1


def test_an_embedding_and_its_key_are_the_same_alone_and_packed(llmbatch: Command, mock: Mock) -> None:
    records = [f"text {n}" for n in range(5)]
    alone, packed = (
        {
            line["index"]: (line["embedding"], line["key"])
            for line in llmbatch("run", *mock("--endpoint", "embeddings", "--pack", pack), stdin=records).results
        }
        for pack in ("1", "auto")
    )
    assert alone == packed and len(alone) == 5
    shown = llmbatch("run", *mock("--endpoint", "embeddings", "--dry-run"), stdin=records).results
    assert [line["key"] for line in shown] == [alone[n][1] for n in range(5)]
    assert shown[0]["url"].endswith("/embeddings") and shown[0]["body"] == {"model": "mock-1", "input": "text 0"}


@pytest.mark.parametrize("fault", ["one-missing", "one-twice"])
def test_records_whose_answers_lose_count_are_asked_again_one_by_one(fault: str, llmbatch: Command, mock: Mock) -> None:
    records = [f"{n} [[mock:{fault}]]" for n in range(3)]
    done = llmbatch("run", *mock("--endpoint", "completions", "--pack", "3", "-c", "1"), stdin=records)
    lines = sorted(done.results, key=lambda line: line["index"])
    unsure = [2] if fault == "one-missing" else [0, 1, 2]
    assert [line["index"] for line in lines if line["attempts"] == 2] == unsure
    assert all(line["attempts"] == 1 for line in lines if line["index"] not in unsure)
    if fault == "one-twice":
        assert [line["status"] for line in lines] == ["ok"] * 3
    else:
        (lost,) = (line for line in lines if line["status"] == "failed")
        assert (
            lost["billed"] and lost["error"]["kind"] == "unparsable" and json.loads(lost["response"])["choices"] == []
        )


@pytest.mark.parametrize("endpoint", ["chat", "embeddings", "responses"])
@pytest.mark.parametrize("style", ["azure", "azure-classic"])
def test_azure_is_asked_in_both_its_styles(
    style: str, endpoint: str, llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    provider = start_mock(env={"LLMBATCH_MOCK_KEY": "sk-azure"})
    root = provider.base_url.removesuffix("/v1")
    environment = {
        "AZURE_OPENAI_ENDPOINT": root,
        "AZURE_OPENAI_API_KEY": "sk-azure",
        "OPENAI_API_VERSION": "2024-10-21",
    }
    done = llmbatch("run", "-p", style, "-m", "my deployment", "--endpoint", endpoint, stdin=["hi"], env=environment)
    assert (done.code, done.result["model"]) == (0, "my deployment")
    (entry,) = provider.ledger()
    assert "api-key" in entry["headers"] and "authorization" not in entry["headers"]
    if style == "azure":
        assert entry["path"].startswith("/openai/v1/") and "?" not in entry["path"]
    else:
        assert entry["path"].endswith("?api-version=2024-10-21")
        assert ("/deployments/my%20deployment/" in entry["path"]) is (endpoint != "responses")
