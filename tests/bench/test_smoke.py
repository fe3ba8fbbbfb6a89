"""The shape of the cost: `make bench-smoke`. Counts and wide ratios, never seconds."""

import subprocess
import sys

import pytest

from llmbatch.cli.verbs import VERBS

HEAVY = {
    "httpx",
    "anyio",
    "jinja2",
    "rich.live",
    "asyncio",
    "uvloop",
    "orjson",
    "llmbatch.run",
    "llmbatch.core.settings",
}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]], ids=" ".join)
def test_what_only_shows_imports_nothing_that_runs(arguments: list[str]) -> None:
    assert _imported(*arguments) & HEAVY == set()


def test_the_version_imports_no_verb() -> None:
    assert _imported("--version") & {f"llmbatch.cli.{verb}" for verb in VERBS} == set()


def _imported(*arguments: str) -> set[str]:
    """Run the command line; return the names of the modules it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "llmbatch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "llmbatch.cli.main" in modules
    return modules
