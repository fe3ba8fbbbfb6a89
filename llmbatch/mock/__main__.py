"""Runs the mock as a child process: prints where it listens, and lives as long as its stdin is open."""

import sys
from argparse import ArgumentParser

from llmbatch.core.system_limits import explain_shortage
from llmbatch.mock.server import run
from llmbatch.mock.settings import MockSettings

if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--batch-dir", help="where batches are kept for the next start")
    try:
        run(
            MockSettings(batch_dir=parser.parse_args().batch_dir),
            started=lambda url: print(url, flush=True),
            until_stdin_closes=True,
        )
    except Exception as error:
        reason = explain_shortage(error)
        sys.exit(f"the built-in mock provider: {reason.message if reason is not None else repr(error)}")
