"""The official client of Anthropic runs whole batches against the mock."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import anyio
import httpx
import pytest
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.mock.batch_requests import split_requests

from .batches import until


@pytest.fixture
def client(mock_server: Callable[..., str]) -> Iterator[Callable[..., anthropic.Anthropic]]:
    with ExitStack() as clients:

        def connect(**settings: Any) -> anthropic.Anthropic:
            url = mock_server(**({"batch_delay": 0.1} | settings)).removesuffix("/v1")
            return clients.enter_context(anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=5))

        yield connect


def message(prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    """Return a body in the order in which the client sends one: equal bytes get equal answers."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": prompt}], "model": "mock-1"} | fields


def request(custom_id: str, prompt: str = "hi", **fields: Any) -> Any:
    return {"custom_id": custom_id, "params": message(prompt, **fields)}


def ended(client: anthropic.Anthropic, batch: MessageBatch) -> MessageBatch:
    return until(lambda one: one.processing_status == "ended", lambda: client.messages.batches.retrieve(batch.id))


def run(client: anthropic.Anthropic, *requests: Any) -> dict[str, MessageBatchIndividualResponse]:
    batch = ended(client, client.messages.batches.create(requests=requests))
    return {row.custom_id: row for row in client.messages.batches.results(batch.id)}


def test_a_batch_runs_from_create_to_delete(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client(batch_delay=0.3)
    requests = [request(f"r-{n}", f"question {n}") for n in range(20)]
    batch = one.messages.batches.create(requests=requests)
    seen: list[tuple[str, int, int]] = []

    def look() -> MessageBatch:
        found = one.messages.batches.retrieve(batch.id)
        counts = found.request_counts
        seen.append((found.processing_status, counts.processing, counts.succeeded))
        return found

    done = until(lambda found: found.processing_status == "ended", look)
    assert set(seen) == {("in_progress", 20, 0), ("ended", 0, 20)}
    assert batch.results_url is None and done.results_url is not None and done.results_url.endswith("/results")
    rows = list(one.messages.batches.results(batch.id))
    assert sorted(row.custom_id for row in rows) == sorted(one["custom_id"] for one in requests)
    assert [row.custom_id for row in rows] != [one["custom_id"] for one in requests]
    for row in rows:
        assert row.result.type == "succeeded"
        assert row.result.message.usage.service_tier == "batch"
    assert [listed.id for listed in one.messages.batches.list()] == [batch.id]
    assert one.messages.batches.delete(batch.id).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        one.messages.batches.retrieve(batch.id)


def test_a_row_says_what_the_live_call_says(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    row = run(one, request("a", "Why is the sky blue?"))["a"]
    live = one.messages.create(**message("Why is the sky blue?"))
    assert row.result.type == "succeeded"
    assert row.result.message.content == live.content


def test_models_may_differ_and_wrong_parameters_are_found_when_they_run(
    client: Callable[..., anthropic.Anthropic],
) -> None:
    rows = run(
        client(),
        request("good"),
        request("mini", model="mock-mini"),
        request("none", max_tokens=0),
        request("gone", model="missing-model"),
        request("slow", "[[mock:hang]]"),
        request("busy", "[[mock:status code=529]]"),
        request("bad", "[[mock:batch invalid]]"),
    )
    kinds = {
        name: row.result.error.error.type if row.result.type == "errored" else row.result.type
        for name, row in rows.items()
    }
    assert kinds == {
        "good": "succeeded",
        "mini": "succeeded",
        "none": "invalid_request_error",
        "gone": "not_found_error",
        "slow": "timeout_error",
        "busy": "overloaded_error",
        "bad": "invalid_request_error",
    }


@pytest.mark.parametrize(
    ("requests", "told"),
    [
        ([], "has requests"),
        ([request("a"), request("a")], "requests.1.*more than once"),
        ([request("x" * 65)], "requests.0.*custom_id"),
        ([request("a b")], "requests.0.*custom_id"),
        ([request("a"), {"custom_id": "b"}], "requests.1.*params"),
    ],
)
def test_a_create_that_makes_no_sense_is_refused(
    client: Callable[..., anthropic.Anthropic], requests: list[Any], told: str
) -> None:
    one = client()
    with pytest.raises(anthropic.BadRequestError, match=told):
        one.messages.batches.create(requests=requests)
    assert [*one.messages.batches.list()] == []


def test_expired_and_cancelled_requests_did_not_run(client: Callable[..., anthropic.Anthropic], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    one = client(ledger=str(ledger), batch_delay=4.0)
    requests = [request(f"r{n}", "[[mock:batch expire]]" if n < 5 else f"q{n}") for n in range(30)]
    batch = one.messages.batches.create(requests=requests)
    with pytest.raises(anthropic.BadRequestError):
        one.messages.batches.delete(batch.id)
    until(lambda now: now > batch.created_at.timestamp() + 1.0, time.time)
    assert one.messages.batches.cancel(batch.id).processing_status == "canceling"
    counts = ended(one, batch).request_counts
    rows = list(one.messages.batches.results(batch.id))
    kinds = [row.result.type for row in rows]
    assert (kinds.count("succeeded"), kinds.count("canceled"), kinds.count("expired")) == (
        counts.succeeded,
        counts.canceled,
        counts.expired,
    )
    assert counts.succeeded and counts.canceled
    run_rows = [line for line in map(json.loads, ledger.read_text().splitlines()) if "custom_id" in line]
    assert sorted(line["custom_id"] for line in run_rows) == sorted(
        row.custom_id for row in rows if row.result.type == "succeeded"
    )


def test_lists_are_paged_in_both_directions(client: Callable[..., anthropic.Anthropic]) -> None:
    one = client()
    made = [one.messages.batches.create(requests=[request("a")]).id for _ in range(5)][::-1]
    assert [batch.id for batch in one.messages.batches.list(limit=2)] == made
    assert [batch.id for batch in one.messages.batches.list(limit=2, before_id=made[3]).data] == made[1:3]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"requests": 1}', b'{"requests": [1]}', b'{"requests": [{}{}]}',
                                  b'{"requests": [{}', b'{"x": {"requests": []}}', b'{"requests": [[]]}'])  # fmt: skip
def test_a_body_that_is_no_list_of_requests_is_refused(mock_server: Callable[..., str], body: bytes) -> None:
    url = mock_server(batch_delay=0.1) + "/messages/batches"
    reply = httpx.post(url, content=body, headers={"anthropic-version": "2023-06-01"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    requests=st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=3), max_size=6),
    before=st.dictionaries(st.text().filter(lambda name: name != "requests"), JSON_VALUES, max_size=2),
    indent=st.sampled_from([None, 1]),
)
def test_any_body_is_split_into_its_requests(
    requests: list[Any], before: dict[str, Any], indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("split")
    (folder / "body").write_text(json.dumps({**before, "requests": requests, "after": 1}, indent=indent))
    assert anyio.run(split_requests, str(folder / "body"), str(folder / "lines")) == len(requests)
    assert [json.loads(line) for line in (folder / "lines").read_bytes().splitlines()] == requests
    assert re.fullmatch(rb"(\{.*\}\n)*", (folder / "lines").read_bytes())
