"""Signals that reach the programs under test, however pytest was started: a job in the background ignores some."""

import signal

for signum, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(signum) is signal.SIG_IGN:
        signal.signal(signum, usual)  # who is ignored here is ignored in every child
