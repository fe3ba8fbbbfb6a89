"""Imports point down only, each library has one home, and test modules do not import each other."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_layers_hold() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_helpers_of_tests_are_not_in_test_modules() -> None:
    """What two test modules need is in a module of its own: else each reader of one must read the other."""
    imports = re.compile(r"^\s*(?:from|import) (?:\.|tests\.)[\w.]*\btest_\w+", re.MULTILINE)
    for path in Path(__file__).parent.rglob("*.py"):
        assert imports.search(path.read_text()) is None, path
