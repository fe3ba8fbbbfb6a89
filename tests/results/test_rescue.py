"""Lines that the results file cannot take are saved wherever there is room."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from llmbatch.results import disk, rescue
from llmbatch.results.rescue import Rescue


class FullDisk:
    """The `os` of `llmbatch.results.disk`, in which some folders take only so many bytes."""

    def __init__(self, room: dict[Path, int]) -> None:
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: memoryview) -> int:
        folder = Path(os.readlink(f"/proc/self/fd/{fd}")).parent
        part = data[: self.room.get(folder, len(data))]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        if folder in self.room:
            self.room[folder] -= len(part)
        return os.write(fd, part)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [tmp_path / name for name in ("named", "temporary", "last")]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr(rescue, "_folders", lambda first: list(map(str, found)))
    return found


def saved(files: Rescue) -> list[bytes]:
    """Return the lines as they would be put back."""
    return [line for line in b"".join(Path(path).read_bytes() for path in files.paths).split(b"\n") if line]


def test_lines_go_where_there_is_room(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "os", FullDisk({folders[0]: 15, folders[1]: 8}))
    files, lines = Rescue("out.jsonl", folders[0]), [b"%d23456789\n" % number for number in range(4)]
    for line in lines:
        files.save(lambda line=line: [line[:4], line[4:]], torn=False)
    files.close()
    assert saved(files) == [line.strip() for line in lines]
    assert [Path(path).parent for path in files.paths] == [folders[0], folders[2]]
    assert all(len(list(folder.iterdir())) == count for folder, count in zip(folders, (1, 0, 1), strict=True))


def test_when_no_folder_has_room_that_is_told_until_one_has(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk(dict.fromkeys(folders, 5))
    monkeypatch.setattr(disk, "os", full)
    files = Rescue("out.jsonl", folders[0])
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            files.save(lambda: [b"a long line\n"], torn=True)
        assert files.paths == []
    full.room[folders[1]] = 100
    files.save(lambda: [b"a long line\n"], torn=True)
    files.close()
    assert Path(files.paths[0]).read_bytes() == b"\na long line\n"


def test_the_temporary_folder_and_home_come_after_the_named_one_and_no_folder_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    names = rescue._folders(tmp_path)
    assert names[:3] == [str(tmp_path), tempfile.gettempdir(), str(home)] and len(set(names)) == len(names)
    assert rescue._folders(None) == rescue._folders(tmp_path / "missing") == names[1:]
    assert rescue._folders(home) == [str(home), tempfile.gettempdir(), *names[3:]]
