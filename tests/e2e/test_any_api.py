"""An unknown API: any path, any header, any body."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.small_server import serving

from .command import Command

KEY = "sk-for-any-api"


class Reranker:
    """A server with an API of its own, which remembers what it was sent."""

    def __init__(self) -> None:
        self.base_url = ""
        self.seen: list[tuple[str, Mapping[str, str], Any]] = []

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        self.seen.append((path, headers, body))
        if body.get("query") == "text":
            return 200, [{"generated_text": "found"}]
        return 200, {"results": [{"index": 1, "score": 0.5}], "model": "rank-1", "usage": {"prompt_tokens": 3}}


@pytest.fixture
def reranker() -> Iterator[Reranker]:
    server = Reranker()
    with serving(server.answer) as address:
        server.base_url = f"{address}/api"
        yield server


def test_any_body_goes_to_any_path_and_the_whole_answer_comes_back(llmbatch: Command, reranker: Reranker) -> None:
    records = [{"id": word, "body": {"query": word, "documents": ["a"]}, "row": 1} for word in ("rank", "text")]
    done = llmbatch(
        "run", "--base-url", reranker.base_url, "--endpoint", "/v2/rerank?top=1", "--header", "X-Team: blue",
        "--auth-header", "X-Gate", "--key-env", "GATE", stdin=records, env={"GATE": KEY},
    )  # fmt: skip
    rank, text = sorted(done.results, key=lambda line: line["id"])
    assert (done.code, rank["status"], rank["text"], rank["model"]) == (0, "ok", None, "rank-1")
    assert rank["response"]["results"] == [{"index": 1, "score": 0.5}] and rank["usage"] == {"input_tokens": 3}
    assert (text["text"], text["response"], text["meta"]) == ("found", [{"generated_text": "found"}], {"row": 1})
    assert {path for path, _, _ in reranker.seen} == {"/api/v2/rerank?top=1"}
    assert sorted(body["query"] for _, _, body in reranker.seen) == ["rank", "text"]
    for _, headers, body in reranker.seen:
        assert (headers["x-gate"], headers["x-team"]) == (KEY, "blue") and "authorization" not in headers
        assert body.keys() == {"query", "documents"}


def test_a_prompt_goes_there_as_a_chat_does(llmbatch: Command, reranker: Reranker) -> None:
    done = llmbatch("run", "--base-url", reranker.base_url, "--endpoint", "/ask", "-s", "Be brief.", stdin=["hi"])
    assert done.code == 0 and done.result["response"]["model"] == "rank-1"
    roles = [message["role"] for message in reranker.seen[0][2]["messages"]]
    assert roles == ["system", "user"] and "model" not in reranker.seen[0][2]


@pytest.mark.parametrize("name", ["authorization", "X-Api-Key", "x-goog-api-key"])
def test_a_key_among_the_headers_is_refused_before_anything_is_sent(name: str, llmbatch: Command) -> None:
    done = llmbatch("run", "--base-url", "http://127.0.0.1:1", "--header", f"{name}: {KEY}", stdin=["hi"])
    assert done.code == 2 and "--key-env" in done.stderr and KEY not in done.stderr
