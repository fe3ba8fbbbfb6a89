"""The gates of several servers, asked like one: which of them is in use, suspended or left out."""

from llmbatch.core.events import ServerChange
from llmbatch.core.exchange import Expected, Request
from llmbatch.core.fault import Billing, Fault, Kind, Scope
from llmbatch.core.outcome import Completion
from llmbatch.pacing.fail_fast import FEW
from llmbatch.pacing.load_balancer import STORM, LoadBalancer
from tests.support.scripted import fixed_gate, job

OK = Completion("Yes.", "stop", "m", None)
BROKEN = Fault(kind=Kind.SERVER_ERROR, message="oops", billing=Billing.SERVER, retry=True)
NO_KEY = Fault(kind=Kind.UNAUTHORIZED, message="no", scope=Scope.RUN)


def ask(balancer: LoadBalancer, server: int, verdict: Completion | Fault, now: float = 0.0) -> ServerChange | None:
    """Send one request to this server and settle it."""
    request = Request((job(0),), "/", b"", Expected("chat"))
    request.server = server
    balancer.gate_for(request).enter(now, request)
    if isinstance(verdict, Completion):
        balancer.succeeded(request, now, 1)
    else:
        balancer.blames_server(request, verdict)
    return balancer.settle(request, verdict, now, lambda: 0.5)


def test_a_server_that_never_worked_is_left_out_and_the_last_one_never() -> None:
    balancer = LoadBalancer([fixed_gate(1), fixed_gate(1)])
    assert [ask(balancer, 1, NO_KEY) for _ in range(FEW)] == [None] * (FEW - 1) + [ServerChange.LEFT_OUT]
    assert [ask(balancer, 0, NO_KEY) for _ in range(2 * FEW)] == [None] * 2 * FEW
    assert balancer.in_use == [balancer.gates[0]] and repr(balancer).startswith("<LoadBalancer 1 left out, 0 suspended")


def test_a_storm_of_errors_suspends_a_server_until_it_answers() -> None:
    balancer = LoadBalancer([fixed_gate(1), fixed_gate(1)])
    for server in (0, 1):
        assert ask(balancer, server, OK) is None
    assert [ask(balancer, 1, BROKEN) for _ in range(STORM)] == [None] * (STORM - 1) + [ServerChange.SUSPENDED]
    assert balancer.outage_since is None and repr(balancer).startswith("<LoadBalancer 0 left out, 1 suspended")
    assert ask(balancer, 1, OK, now=100.0) is ServerChange.WORKS_AGAIN
