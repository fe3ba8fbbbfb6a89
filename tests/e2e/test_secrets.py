"""Keys: found where they should be, sent where they belong, shown nowhere."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.small_server import serving

from .command import Command, Ended, Mock

CANARY = "canary-7f3a9c-do-not-show"


class Echo:
    """A server that refuses every key and quotes it, and remembers what it was sent."""

    def __init__(self) -> None:
        self.base_url = ""
        self.authorizations: list[str | None] = []

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        self.authorizations.append(headers.get("authorization"))
        key = headers.get("authorization", "None").removeprefix("Bearer ")
        quoted = {"message": f"Incorrect API key: {key}", "code": key, "param": [{"key": key}]}
        return 401, {"error": quoted}


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Serve somebody who cannot keep a secret."""
    server = Echo()
    with serving(server.answer) as address:
        server.base_url = f"{address}/v1"
        yield server


WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "LLMBATCH_API_KEY": ((), {"LLMBATCH_API_KEY": CANARY}),
    "--key-env": (("--key-env", "MY_OWN"), {"MY_OWN": CANARY}),
    "--key-file": (("--key-file", "secret.txt"), {}),
    "--key-command": (("--key-command", "cat secret.txt"), {}),
    "--key-file from a pipe": (("--key-file", "/dev/stdin", "in.jsonl"), {}),
}


@pytest.mark.parametrize(
    ("way", "shape"), [*((way, "jsonl") for way in WAYS), ("--key-file", "openai-batch"), ("--key-file", "file")]
)
def test_a_key_is_shown_nowhere_even_when_the_server_quotes_it(
    way: str, shape: str, llmbatch: Command, echo: Echo, tmp_path: Path
) -> None:
    flags, env = WAYS[way]
    (tmp_path / "secret.txt").write_text(f"{CANARY}\n")
    (tmp_path / "in.jsonl").write_text('"hi"\n')
    output = ("-o", "out.jsonl") if shape == "file" else ("--output-format", shape)
    done = llmbatch(
        *("run", *flags, "--base-url", echo.base_url, "-m", "m", "-v", "--debug", *output),
        *("--summary", "json", "--summary-file", "summary.json", "--include", "request,response,input"),
        stdin=f"{CANARY}\n" if way == "--key-file from a pipe" else '"hi"\n',
        env=env,
    )
    assert done.code == 4, done.stderr
    assert echo.authorizations == [f"Bearer {CANARY}"]
    assert _nowhere(CANARY, done)
    for path in [*tmp_path.rglob("*.json*"), *tmp_path.rglob("*.state/*")]:
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    assert "wire: " in done.stderr and "[redacted]" in done.stderr


def test_a_key_with_a_newline_at_its_end_is_refused_in_a_variable_and_read_from_a_file(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    done = llmbatch("run", "-m", "m", stdin=["hi"], env={"OPENAI_API_KEY": f"{CANARY}\n"})
    assert done.code == 2 and "OPENAI_API_KEY" in done.stderr and _nowhere(CANARY, done)
    (tmp_path / "key").write_text(f"{CANARY}\r\n")
    assert llmbatch("run", *mock("--key-file", "key"), stdin=["hi"]).code == 0


def test_an_empty_or_missing_key_is_exit_4_or_2(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    assert llmbatch("run", *mock("--key-file", "key"), stdin=["hi"]).code == 4
    missing = llmbatch("run", *mock("--key-env", "NOT_SET"), stdin=["hi"])
    assert missing.code == 4 and "NOT_SET" in missing.stderr
    assert llmbatch("run", *mock("--key-file", "no-such-file"), stdin=["hi"]).code == 2


def test_a_key_over_plain_http_to_another_machine_needs_a_flag(llmbatch: Command) -> None:
    env = {"LLMBATCH_API_KEY": CANARY}
    flags = ("--base-url", "http://192.0.2.1:9/v1", "-m", "m", "--connect-timeout", "0.2", "--retries", 0)
    done = llmbatch("run", *flags, stdin=["hi"], env=env)
    assert done.code == 2 and "--insecure-http" in done.stderr and _nowhere(CANARY, done)
    allowed = llmbatch("run", *flags, "--insecure-http", stdin=["hi"], env=env)
    assert "--insecure-http" not in allowed.stderr and allowed.code == 4
    keyless = llmbatch("run", *flags, stdin=["hi"])
    assert "--insecure-http" not in keyless.stderr and keyless.code == 4


@pytest.mark.parametrize("preset", [(), ("-p", "openai"), ("-p", "groq")], ids=" ".join)
def test_a_presets_key_stays_at_its_own_host(preset: tuple[str, ...], llmbatch: Command, echo: Echo) -> None:
    env = {"OPENAI_API_KEY": CANARY, "GROQ_API_KEY": CANARY}
    done = llmbatch("run", *preset, "--base-url", echo.base_url, "-m", "m", stdin=["hi"], env=env)
    assert done.code == 4 and echo.authorizations == [None]
    variable = "GROQ_API_KEY" if "groq" in preset else "OPENAI_API_KEY"
    assert f"--key-env {variable}" in done.stderr
    assert _nowhere(CANARY, done)
    named = llmbatch(
        "run", *preset, "--base-url", echo.base_url, "-m", "m", "--key-env", variable, stdin=["hi"], env=env
    )
    assert named.code == 4 and echo.authorizations[1] == f"Bearer {CANARY}"


def test_the_stronger_of_provider_and_base_url_drops_the_other(llmbatch: Command, echo: Echo) -> None:
    env = {"LLMBATCH_BASE_URL": echo.base_url, "LLMBATCH_API_KEY": CANARY}
    assert llmbatch("run", "-p", "mock", stdin=["hi"], env=env).code == 0
    assert echo.authorizations == []
    dry = llmbatch("run", "-p", "groq", "-m", "m", "--dry-run", stdin=["hi"], env=env)
    assert dry.result["url"].startswith("https://api.groq.com/")
    env = {"LLMBATCH_PROVIDER": "groq", "GROQ_API_KEY": CANARY}
    other = llmbatch(
        "run", "--base-url", echo.base_url, "-m", "m", "--max-tokens", 5, "--dry-run", stdin=["hi"], env=env
    )
    assert other.result["url"].startswith(echo.base_url) and "max_tokens" in other.result["body"]


def test_provider_and_base_url_from_one_source_are_one_setting(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch(
        *("run", "-p", "groq", "--base-url", mock.base_url, "-m", "m", "--max-tokens", 5, "--include", "request"),
        stdin=["hi"],
        env={"GROQ_API_KEY": CANARY},
    )
    assert done.code == 0 and "max_completion_tokens" in done.result["request"]


def test_keys_of_others_in_a_providers_words_are_cut_out(llmbatch: Command, mock: Mock) -> None:
    leaked = "sk-proj-abcdefghijklmnopqrstuvwx1234"
    prompt = f"[[mock:status code=400 message={quote(f'no {leaked} here')}]]"
    done = llmbatch("run", *mock("-v"), stdin=[prompt])
    assert done.code == 1 and _nowhere(leaked, done) and "[redacted]" in done.result["error"]["message"]


def test_results_are_private_files(llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    llmbatch("run", *mock("-o", "out.jsonl"), stdin=["hi"])
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_ledger_of_the_mock_knows_keys_only_by_their_digest(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock()
    assert llmbatch("run", *mock(), stdin=["hi"], env={"LLMBATCH_API_KEY": CANARY}).code == 0
    (entry,) = mock.ledger()
    assert entry["headers"]["authorization"].startswith("sha256:") and CANARY not in str(entry)


def _nowhere(secret: str, done: Ended) -> bool:
    return secret not in done.stderr and secret.encode() not in done.stdout


class Expiring(Echo):
    """A server that takes a key for ten requests; the next one is then in the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.served = path, 0

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        valid = f"{CANARY}-{self.served // 10}"
        self.path.write_text(f"{valid}\n")
        if headers["authorization"] != f"Bearer {valid}":
            return super().answer(path, headers, body)
        self.served += 1
        choice = {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        return 200, {"model": "m", "choices": [choice]}


def test_a_key_that_expires_is_asked_for_again_and_costs_no_record(llmbatch: Command, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(f"{CANARY}-0\n")
    server = Expiring(secret)
    with serving(server.answer) as address:
        done = llmbatch(
            *("run", "--key-command", "cat secret.txt", "--base-url", f"{address}/v1", "-m", "m", "-c", "1"),
            *("--retries", "0", "--summary", "json"),
            stdin=[f"prompt {number}" for number in range(35)],
        )
    secret.unlink()
    assert done.code == 0, done.stderr
    assert [line["status"] for line in done.results] == ["ok"] * 35
    assert sum(line["attempts"] for line in done.results) == len(server.authorizations) + 35 == 38
    assert "another one" in done.stderr and CANARY not in done.stdout.decode() + done.stderr
