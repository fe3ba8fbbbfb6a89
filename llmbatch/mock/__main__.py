"""The mock as a child process: says where it listens, and lives as long as its stdin is open."""

from llmbatch.mock.server import run
from llmbatch.mock.settings import MockSettings

if __name__ == "__main__":
    run(MockSettings(), started=lambda url: print(url, flush=True), until_stdin_closes=True)
