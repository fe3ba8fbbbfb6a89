"""What holds for all tests: signals reach the programs under test, and examples have no deadline.

However pytest was started: a job in the background ignores some signals. Examples are judged by what they show, not by
how busy the machine is.
"""

import signal

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

for signum, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(signum) is signal.SIG_IGN:
        signal.signal(signum, usual)  # who is ignored here is ignored in every child
