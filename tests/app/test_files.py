"""Whether files that are written and files that are read are the same, by whatever name; and how files are written."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from llmbatch.app import files
from llmbatch.app.files import NamedFile, check_files, check_run_files, resolve_target, write_whole
from llmbatch.core.errors import OutputError, UsageError
from llmbatch.core.settings import (
    InputSettings,
    ModelSettings,
    OutputSettings,
    ResumeSettings,
    Settings,
    ViewSettings,
)
from llmbatch.results import disk

REAL_LSTAT, REAL_STAT = os.lstat, os.stat

READ: dict[str, Callable[[Path], Settings]] = {
    "input": lambda path: Settings(input=InputSettings(paths=("other.jsonl", str(path)))),
    "template": lambda path: Settings(model=ModelSettings(template=f"@{path}")),
    "system": lambda path: Settings(model=ModelSettings(system=f"@{path}")),
    "key file": lambda path: Settings(model=ModelSettings(key_file=path)),
    "ca file": lambda path: Settings(model=ModelSettings(ca_file=str(path))),
    "schema": lambda path: Settings(read_files=(("--schema", path),)),
    "reuse": lambda path: Settings(resume=ResumeSettings(reuse=(str(path),))),
}
WRITTEN: dict[str, Callable[[Settings, Path], Settings]] = {
    "-o": lambda settings, path: settings._replace(output=OutputSettings(path=path, overwrite=True)),
    "--error-file": lambda settings, path: settings._replace(output=OutputSettings(error_file=path)),
    "--summary-file": lambda settings, path: settings._replace(view=ViewSettings(summary_file=path)),
    "--metrics-file": lambda settings, path: settings._replace(view=ViewSettings(metrics_file=path)),
}


def soft(path: Path) -> Path:
    (link := path.with_name("soft")).symlink_to(path.name)
    return link


def hard(path: Path) -> Path:
    os.link(path, link := path.with_name("hard"))
    return link


def linked_folder(path: Path) -> Path:
    (link := path.parent / "folder").symlink_to(".")
    return link / path.name


def check(settings: Settings) -> None:
    check_run_files(settings.input, settings.output, settings.files_read, settings.view.files)


ALIASES: dict[str, Callable[[Path], Path]] = {
    "the same name": lambda path: path,
    "a detour": lambda path: path.parent / "." / ".." / path.parent.name / path.name,
    "a relative name": lambda path: Path(os.path.relpath(path)),
    "a link": soft,
    "a hard link": hard,
    "a linked folder": linked_folder,
    "a link to a hard link": lambda path: soft(hard(path)),
}


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("read", READ)
def test_what_is_read_is_never_written(tmp_path: Path, read: str, written: str, alias: str) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    settings = WRITTEN[written](READ[read](path), ALIASES[alias](path))
    with pytest.raises(UsageError, match=r"same file") as refused:
        check(settings)
    assert written in refused.value.message and path.read_text() == "content"
    check(WRITTEN[written](READ[read](path), tmp_path / "another"))


@pytest.mark.parametrize("alias", ["the same name", "a detour", "a linked folder"])
@pytest.mark.parametrize("there", [False, True])
def test_no_two_outputs_are_one_file(tmp_path: Path, alias: str, there: bool) -> None:
    path = tmp_path / "out"
    if there:
        path.write_text("")
    for first in WRITTEN:
        for second in WRITTEN:
            if {first, second} & {"--summary-file"} and first != second and {first, second} != {"-o", "--error-file"}:
                settings = Settings(
                    output=OutputSettings(
                        path=path if "-o" in (first, second) else None,
                        error_file=path if "--error-file" in (first, second) else None,
                    ),
                    view=ViewSettings(
                        summary_file=ALIASES[alias](path),
                        metrics_file=path if "--metrics-file" in (first, second) else None,
                    ),
                )
                with pytest.raises(UsageError, match="same file"):
                    check(settings)
                (tmp_path / "folder").unlink(missing_ok=True)


def test_names_that_differ_in_case_are_one_file_where_the_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [NamedFile("-o", tmp_path / "Ergebnis.é"), NamedFile("--summary-file", tmp_path / "ergebnis.E\u0301")]
    check_files(written, [], [])
    assert not list(tmp_path.iterdir()), "the probe stayed"
    monkeypatch.setattr(files, "_folds_names", lambda folder: True)
    with pytest.raises(UsageError, match="same file"):
        check_files(written, [], [])


@pytest.mark.parametrize("name", ["r.jsonl.state", "r.jsonl.state/redo.jsonl", "r.jsonl.state/x", "other.jsonl"])
def test_the_results_of_runs_are_written_by_runs_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.jsonl.state").mkdir()
    (tmp_path / "r.jsonl.state").mkdir()
    for written in list(WRITTEN)[1:]:
        settings = WRITTEN[written](Settings(), tmp_path / name)
        settings = settings._replace(output=settings.output._replace(path=tmp_path / "r.jsonl"))
        with pytest.raises(UsageError):
            check(settings)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "folder", "folder/", "link", "nowhere/r.jsonl", "file/r.jsonl"])
def test_a_results_file_is_no_folder_and_lies_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("link").symlink_to("folder")
    Path("file").write_text("")
    with pytest.raises(UsageError, match="folder"):
        check(Settings(output=OutputSettings(path=Path(name))))


def test_a_file_is_written_whole_under_the_name_it_has(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_whole(path, b"1", "--summary-file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    path.chmod(0o640)
    (tmp_path / "link").symlink_to(path)
    write_whole(tmp_path / "link", b"2", "--summary-file")
    assert path.read_bytes() == b"2" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EROFS])
def test_a_file_that_cannot_be_replaced_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "mounted.json"
    path.write_bytes(b"what was there before")
    inode = path.stat().st_ino

    def rename(source: object, target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("llmbatch.results.disk.os.rename", rename)
    write_whole(path, b"new", "--summary-file")
    assert path.read_bytes() == b"new" and path.stat().st_ino == inode and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        write_whole(tmp_path / "not-there.json", b"new", "--summary-file")


def test_a_fifo_is_written_to_when_somebody_reads_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    with pytest.raises(OutputError, match="nobody reads"):
        write_whole(fifo, b"x", "--metrics-file")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(fifo, b"x", "--metrics-file")
        assert os.read(reader, 10) == b"x" and stat.S_ISFIFO(fifo.lstat().st_mode)
    finally:
        os.close(reader)


def test_a_link_that_was_planted_while_a_file_was_written_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    target = tmp_path / "out"

    def plant() -> None:
        with disk.whole_file(target) as write:
            write(b"new")
            (names := [path.name for path in tmp_path.iterdir()]).remove("victim")
            assert len(names) == 1 and names[0] != ".out.new"
            target.symlink_to("victim")

    with pytest.raises(OSError, match="not a regular file"):
        plant()
    assert (tmp_path / "victim").read_text() == "precious" and target.is_symlink()


@pytest.mark.parametrize(
    ("link_of", "folder_of", "mode", "trusted"),
    [
        (os.geteuid(), 0, 0o41777, True),
        (4711, 0, 0o41777, False),
        (4711, 4711, 0o41777, True),
        (4711, 0, 0o40755, True),
        (4711, 0, 0o40777, True),
    ],
)
def test_a_link_of_another_user_where_all_may_write_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link_of: int, folder_of: int, mode: int, trusted: bool
) -> None:
    (link := tmp_path / "s.json").symlink_to(tmp_path / "victim")
    status = {link: (0o120777, link_of), tmp_path: (mode, folder_of)}

    def owned(path: Path) -> os.stat_result:
        kind, owner = status[path]
        return os.stat_result((kind, 1, 1, 1, owner, 0, 0, 0, 0, 0))

    monkeypatch.setattr(files.os, "lstat", lambda path: owned(path) if path == link else REAL_LSTAT(path))
    monkeypatch.setattr(files.os, "stat", lambda path: owned(path) if path == tmp_path else REAL_STAT(path))
    if trusted:
        assert resolve_target(link, "x") == tmp_path / "victim"
    else:
        with pytest.raises(UsageError, match="another user"):
            resolve_target(link, "x")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
