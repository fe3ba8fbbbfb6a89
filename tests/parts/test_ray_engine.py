"""Without Ray the engine names what to install; `make scale` tries the rest on a cluster."""

import socket
import sys
import threading

import pytest

from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.parts import ray_engine
from llmbatch.parts.ray_engine import _connected, _knock


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs an extra") as caught:
        _connected(None)
    assert caught.value.exit_code == ExitCode.USAGE and "llmbatch[ray]" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Ray"),
        (b"", "is not Ray"),
        (None, "did not answer"),
        (bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), None),
    ],
)
def test_what_listens_at_an_address_and_is_not_ray_is_told_soon(
    answer: bytes | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "CONNECTS", 5.0 if answer is not None else 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            with server.accept()[0] as connection:
                if answer is not None:
                    connection.recv(100)
                    connection.sendall(answer)
                else:
                    over.wait(60.0)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            if reason is None:
                _knock(f"ray://127.0.0.1:{server.getsockname()[1]}", tls=False)
            else:
                with pytest.raises(OSError, match=reason):
                    _knock(f"127.0.0.1:{server.getsockname()[1]}", tls=False)
        finally:
            over.set()
            thread.join()
