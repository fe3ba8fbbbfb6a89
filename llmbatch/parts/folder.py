"""The folder of a run of parts: its plan, and for each part a results file and, once that is complete, a summary."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmbatch.codec import json
from llmbatch.core.errors import OutputError, UsageError
from llmbatch.parts.plan import Plan
from llmbatch.results import disk

__all__ = ["PLAN", "RunFolder", "is_run_folder", "results_in", "results_of", "runs_in"]

PLAN = "run.json"
_DIGITS = 5


class RunFolder:
    """The files of a run of parts, by number. What is written is create-only, and on the disk when a call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def results(self, number: int) -> Path:
        """Return the results file of a part."""
        return self.path / f"part-{number:0{_DIGITS}}.jsonl"

    def summary(self, number: int) -> Path:
        """Return the file that says what a complete part has."""
        return self.path / f"part-{number:0{_DIGITS}}.json"

    def claim(self, number: int) -> Path:
        """Return the file by which a worker claims a part."""
        return self.path / f"part-{number:0{_DIGITS}}.claim"

    def check(self, inputs: Sequence[str]) -> None:
        """Raise UsageError for a folder that is something else: a file, an input, results without a plan."""
        path = self.path
        if path.exists() and not path.is_dir():
            raise UsageError(f"-o {path}/ is a file", f"-o {path} is one results file; DIR/ is a folder of parts.")
        if not path.parent.is_dir():
            raise UsageError(f"-o {path}/: there is no folder {path.parent}", "Make it first, or name another folder.")
        for name in inputs:
            if os.path.isdir(name) and path.exists() and os.path.samefile(name, path):
                raise UsageError(f"-o {path}/ is the folder of the input", "Choose another folder.")
        if path.is_dir() and not (path / PLAN).exists() and any(path.glob("part-*.jsonl*")):
            raise UsageError(
                f"{path}/ has results of parts, but no plan {PLAN}",
                "Put the plan back from a copy, or choose another -o DIR/.",
            )

    def plan(self) -> Plan | None:
        """Return the plan, None if there is none yet. Raises UsageError for one that cannot be followed."""
        file = self.path / PLAN
        try:
            text = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}", "Make it readable.") from error
        return Plan.read(text, str(file))

    def create(self, plan: Plan) -> Plan:
        """Write the plan unless another worker was faster; return the one that counts. Raises OutputError."""
        with _written(self.path):
            if not self.path.is_dir():
                _make_folder(self.path)
            disk.write_new(self.path / PLAN, plan.write())
        return self.plan() or plan

    def complete(self) -> set[int]:
        """Return the numbers of the complete parts, by one look at the folder."""
        if not self.path.is_dir():
            return set()
        names = (os.path.splitext(name) for name in os.listdir(self.path))
        return {
            int(stem[5:])
            for stem, suffix in names
            if suffix == ".json" and stem[:5] == "part-" and stem[5:].isdecimal()
        }

    def read_summary(self, number: int, plan: Plan) -> dict[str, Any]:
        """Return what a complete part has. Raises UsageError for a summary of another plan, or one that is damaged."""
        file = self.summary(number)
        try:
            fields = json.loads(file.read_bytes())
            if fields["part"] != plan.name_of(number):
                raise UsageError(
                    f"{file} is of another plan: part {fields['part']}, not {plan.name_of(number)}",
                    "Each run of parts has a folder of its own; move the file out.",
                )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"{file} is not the summary of a part: {error}", "Remove it: the part is then looked at again."
            ) from None
        return dict(fields)

    def write_summary(self, number: int, fields: dict[str, Any]) -> None:
        """Say that a part is complete. Raises OutputError."""
        with _written(self.path):
            disk.write_new(self.summary(number), json.dumps(fields) + b"\n")

    def reopen(self, number: int) -> None:
        """Take back that a part is complete, because something of it is sent again. Raises OutputError."""
        with _written(self.path):
            disk.remove(self.summary(number))
            disk.sync_folder(self.path)


def is_run_folder(name: str) -> bool:
    """Say whether a name is that of a folder with a plan."""
    return os.path.isfile(os.path.join(name, PLAN))


def runs_in(names: Sequence[str]) -> list[str]:
    """Return the runs that names stand for, a results file or the folder of a run of parts each.

    A folder without a plan is that of several models, and stands for the results file or the parts of each of them; no
    name stands for stdin. Raises UsageError for a folder of something else.
    """
    return [run for name in names or ["-"] for run in (_models_in(name) if _is_folder(name) else [name])]


def results_in(names: Sequence[str]) -> list[str]:
    """Return the results files that names stand for, those of all parts and models, in order.

    Raises UsageError for a folder of something else, and for a run of parts without results.
    """
    return [file for run in runs_in(names) for file in results_of(run)]


def results_of(run: str) -> list[str]:
    """Return the results files of one run. Raises UsageError for a run of parts without results."""
    return _parts_in(run) if _is_folder(run) else [run]


def _models_in(name: str) -> list[str]:
    if is_run_folder(name):
        return [name]
    inside = sorted(os.path.join(name, one) for one in os.listdir(name))
    found = [one for one in inside if one.endswith(".jsonl") or is_run_folder(one)]
    if not found:
        raise UsageError(
            f"{name} is a folder without a plan {PLAN} and without results", "Name the DIR/ of a run, or files."
        )
    return found


def _parts_in(name: str) -> list[str]:
    folder = RunFolder(Path(name))
    plan = folder.plan()
    assert plan is not None
    files = [str(path) for number in range(len(plan.parts)) if (path := folder.results(number)).exists()]
    if not files:
        raise UsageError(f"{name} has no results yet", "Run it first.")
    return files


def _is_folder(name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False


def _make_folder(path: Path) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    disk.sync_folder(path.parent)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        return  # another worker wrote the same
    except OSError as error:
        kind = OutputError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else UsageError
        raise kind(f"cannot write into {path}/: {error.strerror}", "Make room, or choose another -o DIR/.") from error
