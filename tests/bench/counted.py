"""Run the command line and count every function it calls: `python -m tests.bench.counted COUNTS VERB ...`.

On asyncio's own loop, which is Python and can be watched; a C function counts as `C` and its name. The process that
holds the connections is watched as well.
"""

import json
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

counts: Counter[str] = Counter()


def main() -> int:
    report = Path(sys.argv.pop(1))
    far = report.with_suffix(".far")
    from llmbatch.transport_process import spawn

    counter = f"from tests.bench import counted; counted.far({str(far)!r})"
    spawn.PROGRAM = f"import sys; sys.path[:] = sys.argv[1:]; {counter}"
    _begin()
    from llmbatch.cli.main import run_to_code

    code = run_to_code()
    sys.setprofile(None)
    # A copy in one go: threads that are about to end still count.
    there = json.loads(far.read_text())
    report.write_text(
        json.dumps(
            {"counts": Counter(dict(counts)) + Counter(there["counts"]), "modules": _modules(), "far": there["modules"]}
        )
    )
    return code


def far(report: str) -> None:
    """Be the process that holds the connections."""
    from llmbatch.transport_process import child

    leave = child._leave

    def counted_leave(error: Exception | None) -> None:
        sys.setprofile(None)
        Path(report).write_text(json.dumps({"counts": dict(counts), "modules": _modules()}))
        leave(error)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has something to write down
    child._leave = counted_leave
    _begin()
    child.main()


def _begin() -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    threading.setprofile(_watch)
    sys.setprofile(_watch)


def _watch(frame: FrameType, event: str, arg: Any) -> None:
    if event == "call":
        counts[frame.f_code.co_qualname] += 1
    elif event == "c_call":
        counts[f"C {arg.__name__}"] += 1


def _modules() -> list[str]:
    return sorted(name for name, module in sys.modules.items() if module is not None)


if __name__ == "__main__":
    sys.exit(main())
