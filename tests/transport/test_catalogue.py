"""Every fault the mock knows, through both lanes, up to the verdict; and the next request is served unharmed."""

from collections.abc import Iterator

import pytest

from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.outcome import Completion
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.openai_chat import Chat
from llmbatch.dialects.request_options import Options
from llmbatch.mock.fault_markers import FAULTS
from llmbatch.transport.sender import LaneSender
from tests.e2e.command import Mock
from tests.support.scripted import job

from .conftest import Open, Run, patient

Meaning = tuple[Kind, Billing]
UNREADABLE = (Kind.UNPARSABLE, Billing.BILLED)
BROKEN_OFF = (Kind.PROTOCOL, Billing.DOUBTFUL)
RESET = (Kind.CONNECTION, Billing.DOUBTFUL)
LATE = (Kind.TIMEOUT, Billing.DOUBTFUL)
SERVER = (Kind.SERVER_ERROR, Billing.SERVER)

MEANINGS: dict[str, str | Meaning | None] = {
    # The text of a good answer, None for an answer without; or what the failure is.
    "text value=hi": "hi",
    "echo": "q",
    "control": "Plain, ",
    "null-content": None,
    "refusal": None,
    "content-filter": "",
    "length": "You asked",
    "model-length": "You asked",
    "no-usage": "You asked",
    "array-content": "You asked",
    "reasoning": "You asked",
    "no-done": "You asked",
    "bom": "You asked",
    "gzip": "You asked",
    "extra-bytes": "You asked",
    "1xx": "You asked",
    "trailers": "You asked",
    "cut-chunked": "You asked",
    "surrogate": UNREADABLE,
    "bad-utf8": UNREADABLE,
    "null-choices": UNREADABLE,
    "empty-choices": UNREADABLE,
    "no-choices": UNREADABLE,
    "html": UNREADABLE,
    "empty": UNREADABLE,
    "nan": UNREADABLE,
    "huge-number": UNREADABLE,
    "deep": UNREADABLE,
    "bomb": UNREADABLE,
    "bad-gzip": "You asked",
    "truncated-gzip": UNREADABLE,
    "br": UNREADABLE,
    "big mb=3": (Kind.TOO_LARGE, Billing.BILLED),
    "stream-cut": BROKEN_OFF,
    "huge-headers": BROKEN_OFF,
    "close": BROKEN_OFF,
    "cut": BROKEN_OFF,
    "wrong-length": BROKEN_OFF,
    "negative-length": BROKEN_OFF,
    "junk-status": BROKEN_OFF,
    "reset where=before": RESET,
    "reset where=headers": RESET,
    "reset where=body": RESET,
    "hang": LATE,
    "drip where=body": LATE,
    "drip where=headers": LATE,
    "drip where=blank": LATE,
    "stream-error": SERVER,
    "error-200": SERVER,
    "error-200 code=429": (Kind.RATE_LIMITED, Billing.THROTTLED),
    "status code=500": SERVER,
    "status code=503": (Kind.OVERLOADED, Billing.THROTTLED),
    "status code=502 body=html": (Kind.GATEWAY, Billing.DOUBTFUL),
    "status code=504 body=empty": (Kind.GATEWAY, Billing.DOUBTFUL),
    "status code=413 body=html": (Kind.TOO_LARGE, Billing.UNBILLED),
    "status code=403 body=html": (Kind.FORBIDDEN, Billing.UNBILLED),
    "redirect": (Kind.REDIRECT, Billing.UNBILLED),
    "redirect code=301 location=https://elsewhere.invalid/": (Kind.REDIRECT, Billing.UNBILLED),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve all the faults, from a process whose descriptors are its own."""
    mock = Mock(tmp_path_factory.mktemp("mock"))
    yield mock.base_url
    mock.close()


async def verdict(sender: LaneSender, prompt: str) -> Completion | Fault:
    chat, one = Chat(Options()), job(0)
    one.item["messages"][0]["content"] = prompt
    request = chat.request((one,))
    reply = await sender.send(request)
    if isinstance(reply, Fault):
        return reply
    (read,) = AnswerReader().read(request.expected, reply)
    return read


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)  # what differs between the loops is tested beside this
@pytest.mark.parametrize("fault", MEANINGS)
def test_a_fault_means_the_same_through_both_lanes_and_harms_no_other(
    fault: str, url: str, run: Run, opening: Open
) -> None:
    meaning = MEANINGS[fault]
    ours = {LATE: 0.2}.get(meaning, 8.0) if isinstance(meaning, tuple) else 8.0

    async def scene() -> None:
        async with opening(url, timeout=ours, body=2 * 1024 * 1024) as sender:
            read = await verdict(sender, f"[[mock:{fault}]] q")
            if isinstance(meaning, tuple):
                assert isinstance(read, Fault), read
                assert (read.kind, read.billing) == meaning, read
                assert read.scope is not Scope.RUN or fault.startswith("redirect"), read
                assert read.message and "\n" not in read.message
                assert read.raw is not None or read.billing is not Billing.BILLED, "a paid answer is kept"
            else:
                assert isinstance(read, Completion), read
                assert read.text == meaning if meaning is None else (read.text or "").startswith(meaning)
            after = await verdict(patient(sender), "[[mock:echo]] unharmed")
            assert isinstance(after, Completion) and after.text == "unharmed"

    run(scene())


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_no_fault_is_left_out_but_those_of_other_dialects(url: str, run: Run, opening: Open) -> None:
    others = FAULTS.keys() - {fault.split()[0] for fault in MEANINGS}

    async def scene() -> None:
        async with opening(url) as sender:
            for fault in others:
                assert isinstance(await verdict(sender, f"[[mock:{fault}]] q"), Completion), fault

    run(scene())
