"""A key is shown nowhere: whatever a server does with it, however the run ends."""

import json
import os
import resource
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import quote

import pytest
import trustme

from llmbatch.app import composition
from llmbatch.cli import main

from .command import Command, Ended, Mock, lines_of

KEY = "canary/7f3a9c+do-not=show"


class Parrot(ThreadingTCPServer):
    """A server that answers raw bytes in which KEY stands for whatever the authorization header held."""

    daemon_threads = True
    answer = b""

    def __init__(self) -> None:
        parrot = self
        self.seen: list[str] = []

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                length, key = 0, ""
                while (line := self.rfile.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                    key = value.strip().removeprefix("Bearer ") if name.lower() == "authorization" else key
                self.rfile.read(length)
                if length:
                    parrot.seen.append(key)
                self.wfile.write(parrot.answer)

        super().__init__(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self._thread = Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    """Serve somebody who repeats what he hears."""
    server = Parrot()
    yield server
    server.close()


def answer(status: str, body: object, *headers: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return (
        "\r\n".join(
            [f"HTTP/1.1 {status}", "connection: close", f"content-length: {len(raw)}", *headers, "", ""]
        ).encode()
        + raw
    )


def refusal(message: str = f"your key is {KEY}") -> dict[str, object]:
    return {"error": {"message": message, "type": KEY, "param": {"key": KEY}, "code": KEY}}


def completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    return {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}


@dataclass(frozen=True)
class Scene:
    """What the server answers, with which flags it is asked, and how the run ends."""

    answer: bytes
    code: int
    flags: tuple[str, ...] = ()


SSE = "content-type: text/event-stream"
SCENES = {
    "a refused key": Scene(answer("401 No", refusal()), 4),
    "a forbidden model": Scene(answer("403 No", refusal(), f"x-request-id: req-{KEY}"), 4),
    "no credit": Scene(answer("402 No", refusal()), 4),
    "no such model": Scene(answer("404 No", refusal()), 4),
    "a redirect": Scene(answer("307 There", "", f"location: https://elsewhere.example/?api_key={KEY}"), 4),
    "a bad request": Scene(answer("400 No", refusal()), 1),
    "a page": Scene(answer("502 No", f"<html><title>debug: {KEY}</title>{KEY}</html>", "content-type: text/html"), 1),
    "a long wait": Scene(answer("429 No", refusal(), "retry-after: 99999"), 5),
    "an outage": Scene(answer("503 No", refusal()), 5, ("--max-outage", "0.01")),
    "an error in a 200": Scene(answer("200 OK", refusal()), 1),
    "a 200 that is a page": Scene(answer("200 OK", f"<html>Authorization: Bearer {KEY}</html>"), 4),
    "a 200 that is not text": Scene(answer("200 OK", "\u00ff" + KEY).replace("\u00ff".encode(), b"\xff\xff"), 1),
    "a good answer with the key about it": Scene(answer("200 OK", completion("yes"), f"x-request-id: {KEY}"), 0),
    "a stream that breaks": Scene(answer("200 OK", f"data: {json.dumps(refusal())}\n\n", SSE), 1, ("--stream",)),
    "no HTTP": Scene(f"220 hello {KEY}\r\n".encode(), 1),
    "a bad header": Scene(f"HTTP/1.1 200 OK\r\n{KEY}\x01 : x\r\n\r\n".encode(), 1),
    "an encoding that is none": Scene(answer("200 OK", KEY, f"content-encoding: {KEY}"), 1),
}
SHOWN = ("--summary", "json", "--summary-file", "summary.json", "--metrics-file", "metrics.prom", "-v", "--debug")
INCLUDED = ("--include", "request,response,input")


@pytest.mark.parametrize("name", SCENES)
def test_whatever_a_server_does_with_a_key_it_is_shown_nowhere(
    name: str, llmbatch: Command, parrot: Parrot, tmp_path: Path
) -> None:
    scene = SCENES[name]
    parrot.answer = scene.answer
    done = llmbatch(
        *("run", "--base-url", parrot.base_url, "-m", "m", "-o", "out.jsonl", "--tee", "--retries", "0"),
        *(*SHOWN, *INCLUDED, *scene.flags),
        stdin=["hi"],
        env={"LLMBATCH_API_KEY": KEY},
    )
    assert done.code == scene.code, done.stderr
    assert parrot.seen and set(parrot.seen) == {KEY}
    assert_nowhere(done, tmp_path)


def test_what_a_model_says_is_left_alone(llmbatch: Command, parrot: Parrot, tmp_path: Path) -> None:
    parrot.answer = answer("200 OK", completion(f"you said {KEY}"))
    done = llmbatch(
        *("run", "--base-url", parrot.base_url, "-m", "m", "-o", "out.jsonl", *SHOWN),
        stdin=["hi"],
        env={"LLMBATCH_API_KEY": KEY},
    )
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert line["text"] == f"you said {KEY}"
    (tmp_path / "out.jsonl").unlink()
    assert_nowhere(done, tmp_path)


WAYS_TO_END: dict[str, tuple[int, tuple[str, ...], dict[str, str]]] = {
    "nothing is sent": (0, ("-p", "openai", "-m", "m", "--dry-run"), {"OPENAI_API_KEY": KEY}),
    "the key for the name of its variable": (2, ("-m", "m", "--key-env", KEY), {}),
    "a template that fails": (2, ("-m", "m", "-t", "{{ x }}"), {"OPENAI_API_KEY": KEY}),
    "an address with a key": (2, ("--base-url", f"ftp://h/?api_key={KEY}", "-m", "m"), {}),
    "an address with a password": (2, ("--base-url", f"http://me:{KEY}@h/v1", "-m", "m"), {"MY_PASSWORD": KEY}),
    "a port that refuses": (4, ("--base-url", "http://127.0.0.1:9/v1", "-m", "m"), {"LLMBATCH_API_KEY": KEY}),
    "a name that does not resolve": (
        4,
        ("--base-url", "https://no.invalid/v1", "-m", "m", "--retries", "0"),
        {"LLMBATCH_API_KEY": KEY},
    ),
    "a proxy that refuses": (
        4,
        ("--base-url", "https://api.example/v1", "-m", "m", "--retries", "0"),
        {"HTTPS_PROXY": f"http://me:{quote(KEY, safe='')}@127.0.0.1:9", "LLMBATCH_API_KEY": KEY},
    ),
    "a proxy that is none": (
        2,
        ("--base-url", "https://api.example/v1", "-m", "m"),
        {"HTTPS_PROXY": f"socks5://me:{KEY}@h:1"},
    ),
}


@pytest.mark.parametrize("name", WAYS_TO_END)
def test_however_a_run_ends_early_the_key_is_shown_nowhere(name: str, llmbatch: Command, tmp_path: Path) -> None:
    code, flags, env = WAYS_TO_END[name]
    done = llmbatch("run", *flags, *SHOWN, stdin=["hi"], env=env)
    assert done.code == code, done.stderr
    assert_nowhere(done, tmp_path)


def test_plain_http_where_tls_is_expected_shows_no_key(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    url = mock.base_url.replace("http://", "https://")
    done = llmbatch("run", "--base-url", url, "-m", "m", *SHOWN, stdin=["hi"], env={"LLMBATCH_API_KEY": KEY})
    assert done.code == 4 and "insecure" not in done.stderr
    assert_nowhere(done, tmp_path)


def test_a_run_that_is_interrupted_shows_no_key(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock()
    run = llmbatch.start("run", *mock("-o", "out.jsonl", *SHOWN), env={"LLMBATCH_API_KEY": KEY})
    run.write("[[mock:hang]]")
    run.end_input()
    while not mock.ledger():  # it is on its way
        assert run.process.poll() is None
    run.signal(signal.SIGINT)
    run.read_error("stopping")
    run.signal(signal.SIGINT)
    done = run.end()
    assert done.code == 130
    for name in tmp_path.glob("ledger-*"):
        name.unlink()
    assert_nowhere(done, tmp_path)


HELD = ("--in-doubt", "hold", "--retries", "0")


def test_a_run_that_ends_with_records_in_doubt_shows_no_key(llmbatch: Command, parrot: Parrot, tmp_path: Path) -> None:
    parrot.answer = answer("504 Gone", refusal())
    done = llmbatch(
        *("run", "--base-url", parrot.base_url, "-m", "m", "-o", "out.jsonl", *HELD, *SHOWN),
        stdin=["hi"],
        env={"LLMBATCH_API_KEY": KEY},
    )
    assert done.code == 7 and parrot.seen == [KEY]
    assert_nowhere(done, tmp_path)


def test_a_run_whose_results_cannot_be_written_shows_no_key(llmbatch: Command, parrot: Parrot, tmp_path: Path) -> None:
    parrot.answer = answer("400 No", refusal())
    (tmp_path / "rescue").mkdir()
    done = llmbatch(
        *("run", "--base-url", parrot.base_url, "-m", "m", "-o", "out.jsonl", "--rescue-dir", "rescue"),
        *(*SHOWN, "--include", "response"),
        stdin=[{"prompt": "hi", "more": "m" * 200_000}],
        env={"LLMBATCH_API_KEY": KEY},
        preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)),
    )
    assert done.code == 6 and parrot.seen == [KEY], done.stderr
    assert_nowhere(done, tmp_path)


def test_a_run_beside_another_shows_no_key(llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path) -> None:
    mock = start_mock()
    first = llmbatch.start("run", *mock("-o", "out.jsonl", *SHOWN), env={"LLMBATCH_API_KEY": KEY})
    first.write("[[mock:hang]]")
    while not mock.ledger():
        assert first.process.poll() is None
    done = llmbatch("run", *mock("-o", "out.jsonl", *SHOWN), stdin=["hi"], env={"LLMBATCH_API_KEY": KEY})
    assert done.code == 75
    first.process.kill()
    first.end()
    for name in tmp_path.glob("ledger-*"):
        name.unlink()
    assert_nowhere(done, tmp_path)


def test_a_run_whose_reader_leaves_shows_no_key(llmbatch: Command, parrot: Parrot, tmp_path: Path) -> None:
    parrot.answer = answer("400 No", refusal())
    reading, writing = os.pipe()
    os.close(reading)
    done = llmbatch(
        *("run", "--base-url", parrot.base_url, "-m", "m", *SHOWN, *INCLUDED),
        stdin=["hi"] * 5,
        env={"LLMBATCH_API_KEY": KEY},
        stdout=writing,
    )
    os.close(writing)
    assert done.code == 141 and KEY in parrot.seen
    assert_nowhere(done, tmp_path)


def test_a_header_that_is_named_like_a_secret_is_one(llmbatch: Command, parrot: Parrot, tmp_path: Path) -> None:
    parrot.answer = answer("401 No", refusal())
    done = llmbatch(
        "run", "--base-url", parrot.base_url, "-m", "m", "--header", f"X-Gateway-Token: {KEY}", *SHOWN, stdin=["hi"]
    )
    assert done.code == 4
    assert_nowhere(done, tmp_path)
    llmbatch.configure(f'header = ["X-Gateway-Token: {KEY}"]')
    assert_nowhere(llmbatch("config", "show"), None)


def test_a_bug_shows_no_key_not_even_in_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"illegal header value {KEY!r}")

    (tmp_path / "key").write_text(KEY)
    (tmp_path / "in.jsonl").write_text('"hi"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(composition, "run", broken)
    monkeypatch.setattr("sys.argv", ["llmbatch", "run", "in.jsonl", "-p", "mock", "--key-file", "key", "--debug"])
    assert main.run_to_code() == 70
    said = capfd.readouterr()
    assert "RuntimeError" in said.err and "Traceback" in said.err and KEY not in said.err


def assert_nowhere(done: Ended, folder: Path | None) -> None:
    """Look for the key on both streams and in all that the run left behind."""
    for way in (KEY, KEY.replace("/", "\\/"), "do-not=show"):
        assert way not in done.stderr
        assert way.encode() not in done.stdout
        for path in folder.rglob("*") if folder is not None else ():
            assert not path.is_file() or way.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary"])
def test_a_redirect_is_never_followed_and_neither_key_nor_prompt_leaves(
    status: str, llmbatch: Command, parrot: Parrot
) -> None:
    with closing(Parrot()) as elsewhere:
        elsewhere.answer = answer("200 OK", completion("caught"))
        parrot.answer = answer(status, "", f"location: {elsewhere.base_url}/chat/completions")
        done = llmbatch(
            *("run", "--base-url", parrot.base_url, "-m", "m"),
            stdin=[f"prompt {number}" for number in range(50)],
            env={"LLMBATCH_API_KEY": KEY},
        )
        assert done.code == 4 and "redirect" in done.stderr and "--base-url" in done.stderr
        assert 0 < len(parrot.seen) < 20 and elsewhere.seen == []


def test_an_unknown_certificate_is_exit_4_and_no_word_of_doing_without(
    llmbatch: Command, parrot: Parrot, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    parrot.socket = context.wrap_socket(parrot.socket, server_side=True, do_handshake_on_connect=False)
    parrot.answer = answer("200 OK", completion("yes"))
    url = parrot.base_url.replace("http://", "https://")
    flags, env = ("run", "--base-url", url, "-m", "m"), {"LLMBATCH_API_KEY": KEY}
    done = llmbatch(*flags, stdin=["hi"] * 30, env=env)
    assert done.code == 4 and "certificate" in done.stderr and "--ca-file" in done.stderr
    assert "insecure" not in done.stderr.lower() and "verif" not in done.stderr.lower()
    assert parrot.seen == []
    assert llmbatch(*flags, "--ca-file", "ca.pem", stdin=["hi"], env=env).code == 0
