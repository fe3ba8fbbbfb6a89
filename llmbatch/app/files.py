"""Compares the files of a command before one is opened for writing, and writes files atomically.

Two names mean the same file when they lead, through links, to the same device and inode. A file that does not exist yet
is identified by its folder and its name.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from llmbatch.core.errors import OutputError, UsageError
from llmbatch.core.settings import InputSettings, OutputSettings
from llmbatch.input.images import is_media_file
from llmbatch.input.source import would_be_read
from llmbatch.results import disk

__all__ = [
    "NamedFile",
    "check_files",
    "check_run_files",
    "is_stream",
    "open_stream",
    "resolve_target",
    "results_read",
    "write_whole",
]

_MOST_LINKS = 40

_WRITTEN_AT_ONCE = ("--summary-file", "--metrics-file")
"""Options whose files `write_whole` writes."""
_CANNOT_BE_REPLACED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""Why a file may not get another inode: it is mounted, or its folder does not let us."""


class NamedFile(NamedTuple):
    """A file, or an open descriptor, and the words for it in messages."""

    words: str
    path: str | os.PathLike[str] | int


class _Location(NamedTuple):
    """The device and inode of a file; or those of its folder, and the name that it will have."""

    device: int
    inode: int
    name: str | None = None


def check_run_files(
    input: InputSettings,
    output: OutputSettings,
    read: Iterable[tuple[str, str | Path]],
    written: Iterable[tuple[str, Path | None]],
    *,
    dry_run: bool = False,
    stdin: bool = True,
    stdout: int | None = None,
) -> None:
    """Compare the files of a run: inputs and output, and what options name beside them, `read` and `written`.

    The input may come from `stdin`, and results go to `stdout` where there is no results file. A dry run writes nothing
    else. Raises UsageError; nothing was written.
    """
    if output.path is not None:
        check_results_path(output.path)
    targets = [] if dry_run else list(_written(output, written, input.named))
    if stdout is not None and (output.path is None or output.tee or dry_run):
        targets.append(NamedFile("stdout", stdout))
    sources = [*_inputs(input, stdin), *starmap(NamedFile, read)]
    if dry_run and output.path is not None:
        sources.append(NamedFile(f"-o {output.path}", output.path))
    check_files(targets, sources, [output.path] if output.path is not None else [])
    for file in targets if input.images else ():  # which of them records name shows only as they are read
        if not isinstance(file.path, int) and is_media_file(file.path):
            raise UsageError(
                f"{file.words} is an image or a PDF, which --image may read",
                "Choose another file; nothing was changed.",
            )


def _written(
    output: OutputSettings, others: Iterable[tuple[str, Path | None]], inputs: Sequence[str]
) -> Iterator[NamedFile]:
    if output.path is not None:
        table = output.table
        yield NamedFile(f"-o {output.path}" if table is None else f"{output.path} (for -o {table})", output.path)
    for option, path in (("-o", output.table), ("--error-file", output.error_file), *others):
        if path is not None:
            check_writable(path, option)
            if would_be_read(os.fspath(path), inputs):
                raise UsageError(
                    f"{option} {path} would be one of the inputs of the next run",
                    "Put it where the inputs do not lead to.",
                )
            yield NamedFile(f"{option} {path}", path)


def _inputs(input: InputSettings, stdin: bool) -> Iterator[NamedFile]:
    paths = input.paths
    if stdin and (not paths or "-" in paths):
        yield NamedFile("stdin", 0)
    yield from (NamedFile(f"the input {path}", path) for path in paths if path != "-")


def check_results_path(path: Path) -> None:
    """Raise UsageError if the results file is a folder, or its folder does not exist."""
    if os.path.isdir(path):
        raise UsageError(
            f"-o {path} is a folder",
            f"With a slash at the end, -o {path}/, it is a run of parts; one file in it: -o {path / 'results.jsonl'}",
        )
    if not os.path.isdir(path.parent):
        raise UsageError(f"-o {path}: there is no folder {path.parent}", "Make it first, or name another file.")


def check_files(written: Sequence[NamedFile], read: Sequence[NamedFile], results: Sequence[Path]) -> None:
    """Compare the files that are written with those that are read, and with each other.

    `results` are results files, read or written. Nothing may be written by name into a state folder, theirs or another
    one's. Raises UsageError.
    """
    sources = [(location, file) for file in read if (location := _location_now(file.path)) is not None]
    targets: list[tuple[_Location, NamedFile]] = []
    own = {os.path.realpath(path) for path in results}
    for file in written:
        location = _location(file)
        if location is None:
            continue
        for other, source in sources:
            if location == other:
                raise UsageError(
                    f"{file.words} is the same file as {source.words}, which is read",
                    "Choose another file; nothing was changed.",
                )
        for other, target in targets:
            if _same(location, other, file):
                raise UsageError(
                    f"{file.words} is the same file as {target.words}", "Choose another file; nothing was changed."
                )
        if not isinstance(file.path, int):
            _check_states(file.words, Path(os.path.realpath(file.path)), own)
        targets.append((location, file))


def results_read(names: Sequence[str]) -> tuple[list[NamedFile], list[Path]]:
    """Return the files that a reader of results files reads, for `check_files`, and the results files among them."""
    read = [NamedFile("stdin", 0) if name == "-" else NamedFile(name, name) for name in names]
    paths = [Path(name) for name in names if name != "-"]
    read += [NamedFile(f"{path}.state/redo.jsonl", f"{path}.state/redo.jsonl") for path in paths]
    return read, paths


def check_stdout(results: Sequence[str], inputs: Sequence[str] = ()) -> None:
    """Raise UsageError if stdout leads into a file that the command reads."""
    read, paths = results_read(results)
    check_files([NamedFile("stdout", 1)], [*read, *(NamedFile(path, path) for path in inputs if path != "-")], paths)


def _check_states(words: str, target: Path, own: set[str]) -> None:
    """Raise UsageError for a target that belongs to the results of a run, unless it is the results file itself."""
    for folder in (target, *target.parents):
        if _is_state(folder) or (folder.suffix == ".state" and str(folder.with_suffix("")) in own):
            raise UsageError(f"{words} is among what a run needs to go on", "Choose another folder.")
    if str(target) not in own and os.path.isdir(f"{target}.state"):
        raise UsageError(f"{words} holds the results of a run", "Choose another name, or remove it first.")


def _is_state(folder: Path) -> bool:
    return folder.name.endswith(".state") and os.path.exists(folder / "runs.jsonl")


def _location(file: NamedFile) -> _Location | None:
    """Return where a file is or will be; None for what cannot be overwritten. Raises UsageError."""
    try:
        location = _location_now(file.path)
        if location is not None or isinstance(file.path, int) or os.path.exists(file.path):
            return location
        target = Path(os.path.realpath(file.path))
        folder = os.stat(target.parent)
    except OSError as error:
        raise UsageError(f"{file.words}: {error.strerror}", "Name a file in a folder that is there.") from error
    # The way there may lead through a folder that does not exist (`no/../in.jsonl`), which the writer cuts out too.
    return _location_now(target) or _Location(folder.st_dev, folder.st_ino, target.name)


def _location_now(path: str | os.PathLike[str] | int) -> _Location | None:
    """Return where a file is; None if it does not exist, or is a device, a FIFO or a closed descriptor."""
    try:
        status = os.fstat(path) if isinstance(path, int) else os.stat(path)
    except (OSError, ValueError):
        return None  # the code that opens it says why
    return _Location(status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _same(one: _Location, other: _Location, file: NamedFile) -> bool:
    """Say whether two files are the same, also in a file system that ignores case."""
    if one == other:
        return True
    if one[:2] != other[:2] or one.name is None or other.name is None or _folded(one.name) != _folded(other.name):
        return False
    assert not isinstance(file.path, int)
    return _folds_names(Path(os.path.realpath(file.path)).parent)


def _folded(name: str) -> str:
    import unicodedata  # seldom needed, and large

    return unicodedata.normalize("NFC", name).casefold()


def _folds_names(folder: Path) -> bool:
    """Say whether a folder ignores case in names, by creating a file and removing it again."""
    probe = folder / f".llmbatch-{os.urandom(8).hex()}"
    try:
        os.close(disk.create(probe, exclusive=True))
    except OSError:
        return False  # the write itself will fail as well
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        disk.remove(probe)


def resolve_target(path: Path, words: str) -> Path:
    """Follow the links of a file that will be replaced. Raises UsageError for a link that an attacker may have planted.

    The rule is the kernel's (`fs.protected_symlinks`): in a folder where all may write, such as /tmp, a link is
    followed only if it belongs to this user or to the owner of the folder.
    """
    for _ in range(_MOST_LINKS):
        try:
            link = os.lstat(path)
            folder = os.stat(path.parent)
        except OSError:
            break
        if not stat.S_ISLNK(link.st_mode):
            break
        if not _is_trusted(link, folder):
            raise UsageError(f"{words} is a symbolic link of another user", "Remove it, or choose another folder.")
        path = path.parent / os.readlink(path)
    return Path(os.path.realpath(path))


def _is_trusted(link: os.stat_result, folder: os.stat_result) -> bool:
    open_to_all = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    return not open_to_all or link.st_uid in (os.geteuid(), folder.st_uid)


def check_writable(path: Path, option: str) -> None:
    """Raise UsageError, before anything is sent, for a file that could not be written later."""
    target = resolve_target(path, f"{option} {path}")
    if os.path.isdir(path):
        raise UsageError(f"{option} {path} is a folder", "Name a file in it.")
    if is_stream(path):
        fine = os.access(path, os.W_OK)
    else:
        if not os.path.isdir(target.parent):
            raise UsageError(
                f"{option} {path}: there is no folder {path.parent}", "Make it first, or name another file."
            )
        folder = os.access(target.parent, os.W_OK | os.X_OK)
        fine = os.access(target, os.W_OK) and (folder or option in _WRITTEN_AT_ONCE) if target.exists() else folder
    if not fine:
        raise UsageError(f"{option} {path} cannot be written to", "Name a file in a folder that can be written to.")


def write_whole(path: Path, data: bytes, option: str) -> None:
    """Replace a file that others read atomically.

    A device, a FIFO and what stdout or stderr lead to cannot be replaced: they are written to, a FIFO only when it has
    a reader. Neither can a file that is mounted alone, or one in a folder that is not ours: it is overwritten in its
    place. Raises OutputError.
    """
    try:
        if is_stream(path):
            _write_to(path, data)
            return
        target = resolve_target(path, f"{option} {path}")
        try:
            with disk.whole_file(target, mode=0o666) as write:
                write(data)
        except OSError as error:
            if error.errno not in _CANNOT_BE_REPLACED or not target.is_file():
                raise
            disk.overwrite(target, data)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OutputError(f"nobody reads {option} {path}", "Start its reader first.") from error
        raise OutputError(f"cannot write {path}: {error.strerror}", f"Choose another {option}.") from error


def is_stream(path: Path) -> bool:
    """Say whether a path leads to what is written to directly: a device, a FIFO, what stdout or stderr is open on."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return not stat.S_ISREG(status.st_mode) or _standard_stream(status) is not None


def _standard_stream(status: os.stat_result) -> int | None:
    for fd in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(fd), status):
                return fd
    return None


def open_stream(path: Path) -> int:
    """Open what is written to directly. Raises OSError, ENXIO for a FIFO without a reader."""
    fd = _standard_stream(os.stat(path))
    if fd is not None:
        return os.dup(fd)  # both descriptors share one position, so neither overwrites the other
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def _write_to(path: Path, data: bytes) -> None:
    fd = open_stream(path)
    try:
        disk.append(fd, data)
    finally:
        os.close(fd)
