"""What holds for all tests: signals reach the programs under test, and examples have no deadline.

However pytest was started: a job in the background ignores some signals. Examples are judged by what they show, not by
how busy the machine is. Of tests that are marked `sampled` only some cases are run, unless the run is a deep one or
names a case. The garbage collector looks at what tests make, and not each time at all that was imported for them.
"""

import gc
import signal
from collections import Counter

import pytest
from hypothesis import settings

from tests.support.deep import DEEP

gc.set_threshold(50_000, 20, 20)  # the imports of 200 modules leave nothing to collect, and tests little

settings.register_profile("deep", deadline=None)
settings.register_profile("sample", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("deep" if DEEP else "sample")

for signum, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(signum) is signal.SIG_IGN:
        signal.signal(signum, usual)  # who is ignored here is ignored in every child


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep every n-th case of each test marked `sampled(n)`."""
    if DEEP or any("[" in name for name in config.args):
        return
    cases: Counter[str] = Counter()
    left_out = []
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            test = item.nodeid.partition("[")[0]
            if cases[test] % mark.args[0]:
                left_out.append(item)
            cases[test] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported to collect the tests: it stays to the end."""
    gc.collect()
    gc.freeze()
