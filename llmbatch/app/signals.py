"""What Ctrl-C does, and other signals: the first one ends a run in order, the second drops what is in flight."""

import signal
from typing import Protocol

import anyio

from llmbatch.core.errors import Interrupted, LlmbatchError

__all__ = ["Stop", "watch_signals"]


class Stop(Protocol):
    """Ends a run early."""

    def __call__(self, reason: LlmbatchError, *, grace: float) -> None:
        """Send nothing new; let what is in flight finish within `grace` seconds."""
        ...


async def watch_signals(stop: Stop, *, timeout: float, grace: float) -> None:
    """Stop a run on signals, until cancelled.

    After the first signal requests in flight may finish, within `timeout` seconds after Ctrl-C, within `grace` after
    any other. The second drops them. A third one kills the process.
    """
    signals_seen = 0
    handled = [
        signum
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(signum) is not signal.SIG_IGN  # nohup stays nohup
    ]
    with anyio.open_signal_receiver(*handled) as signals:
        async for signum in signals:
            signals_seen += 1
            patience = timeout if signum is signal.SIGINT else grace
            stop(Interrupted(signum), grace=patience if signals_seen == 1 else 0.0)
            if signals_seen == 2:
                for other in handled:
                    signal.signal(other, signal.SIG_DFL)
