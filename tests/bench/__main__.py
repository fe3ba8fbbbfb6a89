"""Print what llmbatch does beside its peers, in one run: `make bench`."""

import argparse
import compileall
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from tests.bench.readme import paste
from tests.bench.rows import LONG, ROWS, Bench
from tests.bench.servers import nginx
from tests.bench.table import BUSY, as_json, as_text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)} (all), or {', '.join(LONG)}")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="PATH", help="also written to")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="a part of the records, to try it out")
    parser.add_argument(
        "--readme", nargs="+", type=Path, metavar="JSON", help="write these reports into the pages of help"
    )
    given = parser.parse_args()
    if given.readme:
        paste([json.loads(path.read_text()) for path in given.readme])
        return
    unknown = set(given.rows) - ROWS.keys() - LONG.keys()
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # As pip leaves what it installs: not so an editable tree where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir("llmbatch", quiet=1)
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"the machine is busy (load {load:.1f}): the figures will be noisy", file=sys.stderr)
    lines = []
    with tempfile.TemporaryDirectory() as folder, nginx() as server:
        bench = Bench(server, Path(folder), given.scale)
        for name in given.rows or ROWS:
            for line in (ROWS | LONG)[name](bench):
                print(as_text(line), flush=True)
                lines.append(line)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m tests.bench", *sys.argv[1:]]) if len(sys.argv) > 1 else "make bench"
    given.json.write_text(json.dumps(as_json(lines, command, load), indent=1) + "\n")
    print(f"written to {given.json}")


if __name__ == "__main__":
    main()
