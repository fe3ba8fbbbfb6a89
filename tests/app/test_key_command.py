"""The command that prints the key, and the renewal of a key that has expired."""

import shlex
import sys
from collections.abc import Callable

import anyio
import pytest

from llmbatch.app.key_command import KeyRenewal, run_key_command
from llmbatch.app.servers import find_servers
from llmbatch.core.errors import ActionNeeded, LlmbatchError, UsageError
from llmbatch.core.exchange import Expected, ReadReply, Request
from llmbatch.core.fault import Fault, Kind, Scope
from llmbatch.core.outcome import Completion
from llmbatch.core.settings import ModelSettings


def python(program: str) -> str:
    return shlex.join([sys.executable, "-S", "-c", program])


def test_the_key_is_the_line_that_the_command_prints() -> None:
    assert run_key_command(python("print(' k-1 '); import sys; print('a note', file=sys.stderr)"), 10) == "k-1"


@pytest.mark.parametrize("printed", [b"k-1\r\n", b"\xef\xbb\xbfk-1\n", b"\n k-1 \n\n", b"k-1"])
def test_a_byte_order_mark_and_the_end_of_the_line_are_no_part_of_the_key(printed: bytes) -> None:
    assert run_key_command(python(f"import sys; sys.stdout.buffer.write({printed!r})"), 10) == "k-1"


def test_there_is_no_shell() -> None:
    assert run_key_command("echo $HOME; x | y > z", 10) == "$HOME; x | y > z"


def test_it_has_ended_when_it_exits_whoever_holds_its_pipes() -> None:
    assert run_key_command("sh -c 'sleep 60 & echo k-2'", 10) == "k-2"


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        (python("import sys; print('half-a-key'); sys.exit('log in first, half-a-key')"), ActionNeeded, "log in first"),
        ("sh -c 'kill -9 $$'", ActionNeeded, "SIGKILL"),
        ("sleep 60", ActionNeeded, "longer than 0.3 s"),
        ("sh -c 'sleep 60 | sleep 60'", ActionNeeded, "--connect-timeout"),
        (python("print('k-1'); print('half-a-key')"), UsageError, "more than one line"),
        (python("while True: print('half-a-key' * 9999)"), LlmbatchError, "--key-command"),
        ("true", ActionNeeded, "printed nothing"),
        ("no-such-program-here --x", UsageError, "cannot be run"),
        ("echo 'open", UsageError, "quotes"),
        (" ", UsageError, "empty"),
    ],
)
def test_a_command_that_prints_no_key_is_said_without_what_it_printed(
    command: str, error: type[LlmbatchError], words: str
) -> None:
    quick = "sleep" in command or "while" in command
    with pytest.raises(error) as raised:
        run_key_command(command, 0.3 if quick else 30)
    said = f"{raised.value.message} {raised.value.hint}"
    assert words in said and "half-a-key" not in said


def test_a_key_that_no_header_can_carry_is_not_shown() -> None:
    model = ModelSettings(base_urls=("http://localhost:1/v1",), key_command="printf 'half-a-key-\\303\\251'")
    with pytest.raises(UsageError) as raised:
        find_servers(model, {})
    assert "half" not in raised.value.message and "--key-command" in raised.value.message


REFUSED = Fault(kind=Kind.UNAUTHORIZED, message="expired", scope=Scope.RUN, status=401)
GOOD = Completion("yes", "stop", "m", None)


class Gatekeeper:
    """A lane to a server that takes each key for a number of requests, and those that are in flight with it."""

    def __init__(self, lasts: int) -> None:
        self.key, self.lasts, self.left, self.valid, self.asked = "k0", lasts, lasts, "k0", 0

    async def ask(self, request: Request) -> ReadReply | Fault:
        key = self.key
        await anyio.lowlevel.checkpoint()
        if key != self.valid or self.left == 0:
            return (REFUSED,), None
        self.left -= 1
        return (GOOD,), None

    async def aclose(self) -> None:
        pass

    def print_key(self) -> str:
        self.asked += 1
        self.valid, self.left = f"k{self.asked}", self.lasts
        return self.valid

    def use(self, key: str) -> None:
        self.key = key


def request() -> Request:
    return Request((), "/chat/completions", b"", Expected("chat"))


def verdicts(gatekeeper: Gatekeeper, requests: int, ask: Callable[[], str] | None = None) -> tuple[int, int, list[str]]:
    """Send requests side by side; return how many were good, how many were sent again, and what failed."""
    good, resent, failures = [], [], []
    renewal = KeyRenewal(
        ask or gatekeeper.print_key, gatekeeper.use, resent=resent.append, failed=lambda e: failures.append(e.message)
    )

    async def send() -> None:
        reply = await renewal.lane(gatekeeper).ask(request())
        assert not isinstance(reply, Fault)
        good.extend(verdict for verdict in reply[0] if verdict is GOOD)

    async def main() -> None:
        await send()
        async with anyio.create_task_group() as tasks:
            for _ in range(requests - 1):
                tasks.start_soon(send)

    anyio.run(main)
    return len(good), len(resent), failures


def test_an_expired_key_is_asked_for_once_for_all_that_are_in_flight() -> None:
    gatekeeper = Gatekeeper(lasts=20)
    assert verdicts(gatekeeper, 30) == (30, 10, [])
    assert gatekeeper.asked == 1


def test_a_key_that_never_worked_is_not_asked_for_again() -> None:
    gatekeeper = Gatekeeper(lasts=0)
    assert verdicts(gatekeeper, 5) == (0, 0, []) and gatekeeper.asked == 0


def test_a_new_key_that_is_refused_at_once_is_the_last() -> None:
    gatekeeper = Gatekeeper(lasts=3)
    asked = []
    assert verdicts(gatekeeper, 10, lambda: asked.append(1) or "wrong")[0] == 3  # type: ignore[func-returns-value]
    assert len(asked) == 1


def test_a_command_that_fails_later_ends_the_run_with_a_reason_for_a_person() -> None:
    def broken() -> str:
        raise UsageError("--key-command: printed more than one line")

    good, _, failures = verdicts(Gatekeeper(lasts=3), 10, broken)
    assert good == 3 and set(failures) == {"--key-command: printed more than one line"}


def test_the_address_of_openais_clients_is_used_and_told() -> None:
    here = {"OPENAI_BASE_URL": "https://gate.example/v1/", "OPENAI_API_KEY": "secret"}
    for model in (ModelSettings(), ModelSettings(provider="openai")):
        servers = find_servers(model, here)
        assert servers.base_url == "https://gate.example/v1" and servers.headers["authorization"] == "Bearer secret"
        assert servers.note and "gate.example" in servers.note and "secret" not in servers.note
    for model in (ModelSettings(provider="mock"), ModelSettings(base_urls=("http://localhost:1/v1",))):
        assert find_servers(model, here).note is None
    assert (
        find_servers(ModelSettings(), {"OPENAI_BASE_URL": "http://localhost:1/v1"}).base_url == "http://localhost:1/v1"
    )
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        find_servers(ModelSettings(), {"OPENAI_BASE_URL": "gate.example", "OPENAI_API_KEY": "secret"})
    with pytest.raises(UsageError, match="plain http"):
        find_servers(ModelSettings(), {"OPENAI_BASE_URL": "http://gate.example/v1", "OPENAI_API_KEY": "secret"})
