"""Run the command line and count every function it calls: `python -m tests.bench.counted COUNTS VERB ...`.

On asyncio's own loop, which is Python and can be watched; a C function counts under its name alone.
"""

import json
import sys
import threading
from collections import Counter
from types import FrameType
from typing import Any


def main() -> int:
    path = sys.argv.pop(1)
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    counts: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            counts[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            counts[arg.__name__] += 1

    from llmbatch.cli.main import run_to_code

    threading.setprofile(watch)
    sys.setprofile(watch)
    code = run_to_code()
    sys.setprofile(None)
    # A copy in one go: threads that are about to end still count.
    with open(path, "w") as out:
        json.dump({"counts": dict(counts), "modules": sorted(sys.modules)}, out)
    return code


if __name__ == "__main__":
    sys.exit(main())
