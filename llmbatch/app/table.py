"""`-o X.csv`: a run writes the results file X.jsonl beside it, and when it ends, the table X.csv from that."""

import os
from hashlib import blake2b
from pathlib import Path
from shlex import quote
from typing import Any

from llmbatch.app.convert import Shape, shaped_pieces
from llmbatch.app.files import resolve_target
from llmbatch.app.table_names import NOTES, read_notes, shape_named, state_folder
from llmbatch.codec import json
from llmbatch.core.errors import InputError, OutputError, UsageError
from llmbatch.input.parquet import check_parquet
from llmbatch.results import disk
from llmbatch.results.opening import is_ours
from llmbatch.results.reader import open_results

__all__ = ["Table"]


class Table:
    """The table at `path`, written from the results file. With `overwrite` it may replace any file."""

    def __init__(self, path: Path, results: Path, *, overwrite: bool) -> None:
        self._path, self._results, self._overwrite = path, results, overwrite
        self._target = resolve_target(path, f"-o {path}")
        self._state = state_folder(results)

    def check(self) -> None:
        """Check, before anything is sent, that the table may be written. Raises UsageError.

        `--overwrite` replaces the table and results of runs, never another file that is called X.jsonl.
        """
        if shape_named(self._path) == "parquet":
            check_parquet()
        if self._results.is_file() and not is_ours(self._results):
            raise UsageError(
                f"{self._results}, where the results of -o {self._path} would be kept, is another file",
                "Choose another name for -o.",
            )
        if not self._may_be_replaced():
            if is_ours(self._target):
                raise UsageError(
                    f"-o {self._path} holds results as JSON Lines, as earlier versions wrote them under any name",
                    f"mv {quote(str(self._path))} {quote(str(self._results))}, "
                    f"and {quote(f'{self._path}.state')} to {quote(f'{self._results}.state')}; "
                    "then the same command goes on.",
                )
            raise UsageError(
                f"-o {self._path} is there, and it is not what llmbatch wrote last",
                "Move it away to go on, or name another file; --overwrite replaces it and sends everything again.",
            )

    def write(self) -> None:
        """Write the table from the results file, unless it is up to date. Raises OutputError."""
        try:
            source = os.stat(self._results)
            of = [source.st_size, source.st_mtime_ns]
            note = read_notes(self._state).get(self._path.name, {})
            if note.get("of") == of and self._target.exists() and self._is_ours():
                return
            if not self._may_be_replaced():
                raise self._failed("somebody changed it during the run")
            self._write(of, note)
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        except (UsageError, InputError) as error:
            raise self._failed(error.message, error.hint) from error

    def _write(self, of: list[int], note: dict[str, Any]) -> None:
        digest = blake2b(digest_size=16)
        beside = self._target.parent == self._results.parent
        with (
            open_results([str(self._results)]) as files,
            disk.whole_file(self._target, scratch=self._state / "table.new" if beside else None) as write,
        ):
            shape = Shape(to=shape_named(self._path) or "csv")
            for piece in disk.joined(piece for piece, _ in shaped_pieces(files, shape)):
                digest.update(piece)
                write(piece)
            # Noted before the rename: after a crash in between, the next run recognises the old and the new table.
            self._note({"digests": [*note.get("digests", []), digest.hexdigest()]})
        status = os.stat(self._target)
        self._note({"digests": [digest.hexdigest()], "size": status.st_size, "mtime_ns": status.st_mtime_ns, "of": of})

    def _may_be_replaced(self) -> bool:
        return self._overwrite or self._is_ours()

    def _is_ours(self) -> bool:
        """Say whether the table does not exist, or is as a run left it."""
        try:
            status = os.stat(self._target)
        except FileNotFoundError:
            return True
        note = read_notes(self._state).get(self._path.name)
        if note is None:
            return False
        if (note.get("size"), note.get("mtime_ns")) == (status.st_size, status.st_mtime_ns):
            return True
        with self._target.open("rb") as file:
            digest = blake2b(digest_size=16)
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest() in note.get("digests", [])

    def _note(self, note: dict[str, Any]) -> None:
        notes = read_notes(self._state) | {self._path.name: note}
        disk.replace(self._state / "tables.new", self._state / NOTES, [json.dumps(notes)])

    def _failed(self, why: str, hint: str | None = None) -> OutputError:
        return OutputError(
            f"cannot write {self._path}: {why}; all results are in {self._results}",
            hint or f"llmbatch convert {self._results} -o OUT{self._path.suffix} writes another one.",
        )
