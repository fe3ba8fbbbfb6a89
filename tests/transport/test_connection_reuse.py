"""When the connections to a server are not kept any more."""

import pytest

from llmbatch.transport.connection_reuse import ConnectionReuse


@pytest.fixture
def reuse() -> ConnectionReuse:
    return ConnectionReuse()


def test_a_server_that_goes_down_once_keeps_its_connections(reuse: ConnectionReuse) -> None:
    for request in range(200):
        reuse.lost("/chat", 10.0 + request / 1000, streamed=False)
    assert not reuse.ends_after("/chat", streamed=False)


def test_losses_at_two_moments_end_reuse(reuse: ConnectionReuse) -> None:
    reuse.lost("/chat", 10.0, streamed=False)
    assert not reuse.ends_after("/chat", streamed=False)
    reuse.lost("/chat", 11.0, streamed=False)
    assert reuse.ends_after("/chat", streamed=False)
    assert not reuse.ends_after("/embeddings", streamed=False)


def test_seldom_losses_do_not_end_reuse(reuse: ConnectionReuse) -> None:
    """An idle connection may be closed at the moment at which a request leaves."""
    for minute in range(100):
        for _ in range(20):
            reuse.answered("/chat")
        reuse.lost("/chat", 60.0 * minute, streamed=False)
        assert not reuse.ends_after("/chat", streamed=False)


def test_losses_after_streams_say_nothing_about_other_answers(reuse: ConnectionReuse) -> None:
    for _ in range(30):
        reuse.answered("/chat")
    for _ in range(2):
        reuse.lost("/chat", 10.0, streamed=True)
    assert reuse.ends_after("/chat", streamed=True)
    assert not reuse.ends_after("/chat", streamed=False)
