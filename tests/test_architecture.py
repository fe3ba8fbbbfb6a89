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


def test_the_environment_is_read_in_one_place_and_the_settings_are_handed_out_in_parts() -> None:
    package = Path(__file__).parents[1] / "llmbatch"
    modules = {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}
    readers = {str(path) for path, text in modules.items() if re.search(r"\bos\.(environ|getenv)\b", text)}
    assert readers == {"core/environment.py"}
    homes = {path.parts[0] for path, text in modules.items() if re.search(r"import .*\bSettings\b", text)}
    assert homes == {"api", "app", "cli", "options", "parts"}, "other packages get a group or a value"
