"""Another boot, device or mount is other storage, on which marks that were never synced may be lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmbatch.results import storage
from llmbatch.results.opening import open_store
from llmbatch.results.resume_policy import Action, ResumePolicy
from llmbatch.results.storage import storage_of
from tests.results.store_use import job


@pytest.fixture
def boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file from which the name of the boot is read."""
    file = tmp_path / "boot_id"
    file.write_text("first\n")
    monkeypatch.setattr(storage, "Path", lambda name: file)
    return file


class Folder(type(Path())):  # type: ignore[misc]
    """A folder that is on another device."""

    def stat(self, **how: Any) -> Any:
        return SimpleNamespace(st_dev=Path(self).stat().st_dev + 1)


def test_another_boot_device_or_mount_is_other_storage(
    tmp_path: Path, boot_id: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = storage_of(tmp_path)
    assert len(here) == 16 and storage_of(tmp_path) == here
    found = {here, storage_of(Folder(tmp_path))}
    boot_id.write_text("second\n")
    found.add(storage_of(tmp_path))
    boot_id.write_text("first\n")
    monkeypatch.setattr(storage, "_mount", lambda folder: -1)
    found.add(storage_of(tmp_path))
    assert len(found) == 4


def test_two_mounts_have_two_numbers(tmp_path: Path) -> None:
    assert 0 != storage._mount(tmp_path) != storage._mount(Path("/proc"))


def test_what_was_planned_counts_as_sent_after_another_boot_only(tmp_path: Path, boot_id: Path) -> None:
    one, hold = job("a"), ResumePolicy(hold=True)
    for boot, expected in (("first", Action.SEND), ("first", Action.SEND), ("second", Action.HOLD)):
        boot_id.write_text(boot)
        with open_store(tmp_path / "out.jsonl", fsync="batch", hold=True) as store:
            assert store.decide(one.identity, one.key, hold).action is expected
            if expected is Action.SEND:
                store.plan([one])
