"""Workers borrow from one server: over TCP with a token, on one machine from whichever of them serves."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.pacing.lender import Ask, Lender
from llmbatch.parts.limits_server import LimitsClient, LimitsServer, check_exposed, place_of


def lender(dollars: float = 10.0) -> Lender:
    return Lender(monotonic() - 100.0, rpm=600, tpm=None, dollars=dollars)


def nobody(again: bool) -> Lender:
    raise AssertionError("a client of another machine does not serve")


@contextmanager
def serving(server: LimitsServer) -> Iterator[LimitsServer]:
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def test_clients_share_what_a_server_lends_over_tcp() -> None:
    with serving(LimitsServer(lender(), ("127.0.0.1", 0), "secret")) as server:
        one, other = (LimitsClient(("127.0.0.1", server.port), nobody, token="secret") for _ in range(2))
        with closing(one), closing(other):
            assert one.lend(Ask("one")).requests == 1, "it is not known yet how many it sends"
            lent = one.lend(Ask("one", sent=10))
            assert 2 <= lent.requests <= 5 and lent.gap > 0
            later = other.lend(Ask("other"))
            assert later.requests == 0 or later.after > lent.after, "the next moment, over all workers"
            assert [one.borrow(8.0), other.borrow(8.0)] == [8.0, 2.0]


@pytest.mark.parametrize("token", [None, "wrong"])
def test_another_token_is_lent_nothing(token: str | None) -> None:
    with serving(LimitsServer(lender(), ("127.0.0.1", 0), "secret")) as server:
        client = LimitsClient(("127.0.0.1", server.port), nobody, token=token)
        with closing(client):
            assert client.lend(Ask("one")).requests == 0
        assert client.failure is not None and "another LLMBATCH_LIMITS_TOKEN" in client.failure.message
        assert client.failure.exit_code == 4, "waiting does not help"


def test_a_server_that_is_gone_ends_the_run_when_patience_is_out() -> None:
    said: list[str] = []
    client = LimitsClient(("127.0.0.1", 1), nobody, patience=1000.0, notice=said.append)
    assert client.lend(Ask("one")).requests == 0 and client.failure is None
    assert client.lend(Ask("one")).requests == 0 and len(said) == 1 and "cannot be reached" in said[0]
    client = LimitsClient(("127.0.0.1", 1), nobody, patience=-1.0)
    client.lend(Ask("one"))
    assert client.failure is not None and client.failure.exit_code == 5


def test_on_one_machine_the_first_serves_and_another_takes_over(tmp_path: Path) -> None:
    path = tmp_path / ("a folder with a long name " * 5) / ".limits"
    path.parent.mkdir()
    made: list[bool] = []

    def make(again: bool) -> Lender:
        made.append(again)
        return lender(0.0 if again else 10.0)

    first, second = LimitsClient(path, make), LimitsClient(path, make)
    assert [first.borrow(6.0), second.borrow(6.0)] == [6.0, 4.0]
    assert made == [False]
    first.close()
    assert second.borrow(1.0) == 0.0  # what the first one lent is not known here
    assert made == [False, True]
    assert second.lend(Ask("second")).requests > 0
    second.close()


def test_places_and_names() -> None:
    assert place_of("node-1:7070", None) == ("node-1", 7070)
    assert place_of("tcp://[::1]:7070", None) == ("::1", 7070)
    assert place_of("auto", Path("out")) == Path("out/.limits")
    for text in ("auto", "../x", "a b", "host:", "host:99999"):
        with pytest.raises(UsageError):
            place_of(text, None)
    check_exposed("127.0.0.1", None)
    with pytest.raises(UsageError, match="LLMBATCH_LIMITS_TOKEN is not set"):
        check_exposed("0.0.0.0", None)
