"""Refusals of one record do not stop a run; those of the account stop it after a few records."""

from collections.abc import Callable
from typing import Any

import pytest

from .command import Command, Mock


def records(marker: str, refused: int, fine: int) -> list[dict[str, Any]]:
    """Build records of which the first are refused."""
    return [{"id": n, "prompt": f"[[mock:{marker}]] {n}" if n < refused else f"{n}"} for n in range(refused + fine)]


OF_ONE_RECORD = {
    "status code=400 message=Input_data_may_contain_inappropriate_content": "content_filter",
    "status code=403 body=string message=This_goes_against_our_usage_guidelines._Failed_check": "content_filter",
    "status code=400 message=This_model's_maximum_context_length_is_8_tokens": "context_length",
    "status code=500 message=the_request_exceeds_the_available_context_size": "context_length",
    "error-200 body=base-resp number=1026 message=input_new_sensitive": "content_filter",
    "error-200 body=words message=prompt_is_too_long": "context_length",
}


@pytest.mark.parametrize("marker", OF_ONE_RECORD)
def test_refusals_of_content_never_stop_a_run_and_are_asked_once(
    llmbatch: Command, start_mock: Callable[..., Mock], marker: str
) -> None:
    mock = start_mock()
    ended = llmbatch("run", *mock("-c", 1), stdin=records(marker, 25, 5))
    assert (ended.code, len(ended.results)) == (1, 30), ended.stderr
    kinds = [line["error"]["kind"] for line in ended.results if line["status"] == "failed"]
    assert kinds == [OF_ONE_RECORD[marker]] * 25
    assert len(mock.ledger()) == 30


OF_THE_ACCOUNT = {
    "status code=429 message=Your_account_is_suspended_due_to_insufficient_balance": "no_credit",
    "status code=403 message=user_quota_is_not_enough": "no_credit",
    "status code=500 message=insufficient_balance_(1008)": "no_credit",
    "error-200 body=base-resp number=1008 message=insufficient_balance": "no_credit",
    "error-200 body=base-resp number=1004 message=login_fail": "unauthorized",
    "error-200 body=detail message=Not_authenticated": "unauthorized",
}


@pytest.mark.parametrize("marker", OF_THE_ACCOUNT)
def test_refusals_of_the_account_stop_a_run_after_a_few(
    llmbatch: Command, start_mock: Callable[..., Mock], marker: str
) -> None:
    mock = start_mock()
    ended = llmbatch("run", *mock("-c", 1), stdin=records(marker, 30, 0))
    assert ended.code == 4, ended.stderr
    assert {line["error"]["kind"] for line in ended.results} == {OF_THE_ACCOUNT[marker]}
    assert len(mock.ledger()) <= 5


def test_a_refusal_for_pace_inside_a_200_is_waited_out_and_never_counted_as_paid(llmbatch: Command, mock: Mock) -> None:
    markers = [
        "error-200 body=base-resp number=1002 message=x times=1",
        "error-200 body=words message=rate_limit times=1",
    ]
    ended = llmbatch("run", *mock(), stdin=[{"prompt": f"[[mock:{marker}]] hi"} for marker in markers])
    assert ended.code == 0, ended.stderr
    assert all("possibly_billed" not in line for line in ended.results)


def test_a_server_that_gave_up_is_asked_again(llmbatch: Command, mock: Mock) -> None:
    ended = llmbatch(
        "run", *mock(), stdin=[{"prompt": f"[[mock:status code={code} times=1]] hi"} for code in (499, 424)]
    )
    assert (ended.code, [line["attempts"] for line in ended.results]) == (0, [2, 2]), ended.stderr
