"""Works on parts on a Ray cluster: a task for each part, which Ray starts again on another node when it is lost.

Ray Core only. Results go to the folder, which all nodes must see, and never through Ray; an actor passes on progress
and lends limits.
"""

import re
import socket
import time
from collections.abc import Callable
from typing import Any

from llmbatch.core.errors import ActionNeeded, Interrupted, LlmbatchError, OutputBusy, UsageError
from llmbatch.core.snapshot import Snapshot
from llmbatch.parts.claim import EXPIRES
from llmbatch.parts.hub import Hub, LenderHere, Lends
from llmbatch.parts.limits_server import limits_client
from llmbatch.parts.processes import noting_signals
from llmbatch.parts.ray_limits import RayLimits, nothing_left
from llmbatch.parts.remote import Job, RemoteWorker, Result, packed, unpacked

__all__ = ["RayTasks"]

EVERY = 0.5
"""Seconds between two looks at the cluster."""
LOOKS_AGAIN = 1.0
CONNECTS = 10.0
"""Seconds for the head of a cluster to take a connection, and to answer."""
_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The frame with which each side of gRPC, which is HTTP/2, begins: its fourth byte is the type."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
PATIENCE = EXPIRES + 60.0
"""Seconds that a task waits for a part that its predecessor, on a node that was lost, still holds."""


class Board:
    """The actor between workers and driver. After a restart it lends no dollars: what was lent before is not known."""

    def __init__(self, data: bytes, dollars: float) -> None:
        import ray

        if ray.get_runtime_context().was_current_actor_reconstructed:
            dollars = nothing_left(dollars)
        self._states: dict[int, Snapshot] = {}
        self._notices: list[str] = []
        self._hub = Hub(
            _limits(unpacked(data), dollars, self._notices.append), self._states.__setitem__, self._notices.append
        )

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the hub."""
        return getattr(self._hub, name)(*arguments)

    def collect(self, signals: list[int]) -> tuple[dict[int, Snapshot], list[str]]:
        """Take the signals that the driver got; return the states and notices since the last call."""
        self._hub.signals = signals
        states, notices = dict(self._states), list(self._notices)
        self._states.clear()
        self._notices.clear()
        return states, notices


def _limits(job: Job, dollars: float, notice: Callable[[str], None]) -> Lends:
    """Return the limits of a run: its own, or those that it shares with others by a name or an address."""
    pace = job.settings.pace
    if pace.share_limits is None:
        return LenderHere(rpm=pace.rpm, tpm=pace.tpm, dollars=dollars)
    if ":" in pace.share_limits:
        folder, patience = job.settings.output.folder, job.settings.patience.max_outage
        return limits_client(pace, folder, job.environment, dollars, patience=patience, notice=notice)
    return RayLimits(job.folder if pace.share_limits == "auto" else pace.share_limits, pace, dollars)


def work(data: bytes, number: int, board: Any) -> Result:
    """Work on a part, in a worker of Ray. Waits while the predecessor of a restarted task still holds the part."""
    import ray

    def call(*message: Any) -> Any:
        return ray.get(board.call.remote(*message))

    try:
        worker = RemoteWorker(unpacked(data), call)
    except LlmbatchError as error:
        return error
    until = time.monotonic() + PATIENCE
    while isinstance(result := worker.work(number), OutputBusy) and time.monotonic() < until:
        time.sleep(LOOKS_AGAIN)
    return result


class RayTasks:
    """The tasks of a run, up to `count` at once, on the cluster at `address` or, if None, where Ray finds one."""

    def __init__(
        self,
        job: Job,
        show: tuple[Callable[[int, Snapshot], None], Callable[[str], None]],
        signals: list[int],
        dollars: float,
        count: int | None,
        done: Callable[[int, Result], None],
        address: str | None,
        *,
        tls: bool,
    ) -> None:
        self._job, self._dollars, self._count, self._done, self._address = packed(job), dollars, count, done, address
        self._show, self._notice = show
        self._signals, self._tls = signals, tls

    def run(self, numbers: list[int], is_stopped: Callable[[], bool]) -> None:
        """Have all parts worked on, in order; no further one is begun once the run is stopped."""
        ray = _connected(self._address, tls=self._tls)
        nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        cpus = int(min(2, max(1, *nodes, 1)))
        count = self._count or max(1, int(sum(nodes)) // 2)
        task = ray.remote(work).options(num_cpus=cpus, max_retries=-1, scheduling_strategy="SPREAD")
        board = (
            ray.remote(Board)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=1,
                scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                    ray.get_runtime_context().get_node_id(), soft=True
                ),
            )
            .remote(self._job, self._dollars)
        )
        todo, at_work, data = [*numbers], dict[Any, int](), ray.put(self._job)
        signals = self._signals
        with noting_signals(signals.append):
            while at_work or (todo and not is_stopped() and not signals):
                while todo and len(at_work) < count and not is_stopped() and not signals:
                    number = todo.pop(0)
                    at_work[task.remote(data, number, board)] = number
                if not at_work:
                    break
                ended, _ = ray.wait([*at_work], timeout=EVERY)
                try:
                    states, notices = ray.get(board.collect.remote([*signals]))
                except ray.exceptions.RayError as error:
                    raise _explained(error) from error
                for number, state in states.items():
                    if number in at_work.values():
                        self._show(number, state)
                for text in notices:
                    self._notice(text)
                for reference in ended:
                    self._done(at_work.pop(reference), _result(ray, reference))
        ray.kill(board)
        if signals and not is_stopped():
            self._done(-1, Interrupted(signals[0]))


def _connected(address: str | None, *, tls: bool = False) -> Any:
    """Return Ray, connected to a cluster. Raises UsageError without Ray, ActionNeeded without a cluster."""
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs an extra", "pip install 'llmbatch[ray]', on every node.") from None
    if not ray.is_initialized():
        try:
            _knock(address, tls=tls)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ActionNeeded(
                f"there is no Ray cluster{f' at {address}' if address else ''}: {reason}",
                "Start one, name it with --ray-address or RAY_ADDRESS, or leave --engine out.",
            ) from error
    return ray


def _knock(address: str | None, *, tls: bool) -> None:
    """Raise OSError where nobody listens at an address, or, without TLS, not Ray, which would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    with socket.create_connection((host.strip("[]"), int(port)), CONNECTS) as connection:
        if tls:
            return
        connection.sendall(_PREFACE)
        try:
            answer = connection.recv(len(_SETTINGS))
        except TimeoutError:
            raise ConnectionError(f"what listens there did not answer for {CONNECTS:g} s") from None
        if answer[3:4] != _SETTINGS[3:4]:
            raise ConnectionError("what listens there is not Ray")


def _result(ray: Any, reference: Any) -> Result:
    try:
        result: Result = ray.get(reference)
    except ray.exceptions.RayError as error:
        return _explained(error)
    return result


def _explained(error: Exception) -> LlmbatchError:
    text = str(error).strip()
    if "No module named 'llmbatch" in text:
        node = re.search(r"\bip=([0-9a-f.:]+)", text)
        where = f"the node {node[1]}" if node else "a node"
        return UsageError(f"{where} of the cluster has no llmbatch", "pip install 'llmbatch[ray]' on every node.")
    return LlmbatchError(f"a task of Ray failed: {text.splitlines()[-1] if text else repr(error)}")
