"""Imports point down only, each library has one home, and test modules do not import each other."""

import re
import subprocess
import sys
from pathlib import Path

WITH_ALL_SETTINGS = {
    "options/option.py",  # finds the default of each option there
    "options/resolve.py",  # makes them
    "api/options.py",
    "cli/resolve.py",
    "cli/dry_run.py",  # these ask for a run
    "cli/run.py",
    "cli/run_models.py",
    "app/composition.py",
    "app/side_by_side.py",  # makes those of a run for each model
    "parts/run.py",  # a run for each part
    "parts/worker.py",
    "parts/remote.py",  # the same in another process
}
"""The modules that see all settings of a run."""


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
    homes = {str(path) for path, text in modules.items() if re.search(r"import .*\bSettings\b", text)}
    assert homes == WITH_ALL_SETTINGS, "others get a group of settings or a value"
