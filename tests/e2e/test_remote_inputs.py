"""Inputs at an address, by the command: one FILE, parts, verify; what gives access to them is never shown or stored."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.object_store import ObjectStore, serving

from .command import Command, Mock, lines_of

SECRET = "X-Amz-Signature=very-secret-signature"


@pytest.fixture
def store(llmbatch: Command) -> Iterator[ObjectStore]:
    """Serve two objects of S3, which are also on the web."""
    with serving() as store:
        store.objects["bucket/in/a.jsonl"] = b"".join(b'{"id":%d,"prompt":"question"}\n' % n for n in range(60))
        store.objects["bucket/in/b #?.jsonl"] = b'{"id":"last","prompt":"question"}'
        llmbatch.environment |= store.environment
        yield store


def test_a_run_of_parts_on_a_folder_of_objects_is_continued_verified_and_bound_to_its_versions(
    llmbatch: Command, mock: Mock, store: ObjectStore, tmp_path: Path
) -> None:
    options = mock("-o", "out/", "--part-size", "25")
    stopped = llmbatch("run", "s3://bucket/in/", *options, "--max-failures", "1", "--shard", "1/3")
    assert stopped.code == 0, stopped.stderr
    done = llmbatch("run", "s3://bucket/in/*.jsonl", *options, "--processes", "2")
    assert done.code == 0, done.stderr
    lines = [line for part in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(part)]
    assert sorted(str(line["id"]) for line in lines) == sorted([*map(str, range(60)), "last"])
    assert llmbatch("verify", "s3://bucket/in/", "-o", "out/").code == 0
    plan = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert [sorted(one) for one in plan["inputs"]] == [["path", "size", "tag"]] * 2
    store.objects["bucket/in/a.jsonl"] = store.objects["bucket/in/a.jsonl"].replace(b"question", b"Question")
    for command in (["run", "s3://bucket/in/", *options], ["verify", "s3://bucket/in/", "-o", "out/"]):
        changed = llmbatch(*command)
        assert changed.code == 2
        assert "s3://bucket/in/a.jsonl: version " in changed.stderr


def test_a_signed_address_is_read_continued_and_never_shown_or_stored(
    llmbatch: Command, mock: Mock, store: ObjectStore, tmp_path: Path
) -> None:
    name = f"{store.url}/bucket/in/a.jsonl?{SECRET}"
    shown = llmbatch("run", name, *mock("--dry-run"))
    limited = llmbatch("run", name, *mock("-o", "a.jsonl", "--max-failures", "1", "--debug"), "--limit", "20")
    continued = llmbatch("run", name, *mock("-o", "a.jsonl"))
    assert (limited.code, continued.code) == (0, 0), continued.stderr
    assert "20 done, 40 to send" in continued.stderr
    parts = llmbatch("run", name, *mock("-o", "out/", "--part-size", "25"))
    verified = llmbatch("verify", name, "-o", "out/")
    store.always["bucket/in/a.jsonl"] = 403
    refused = llmbatch("run", name, *mock("-o", "out/"))
    assert (parts.code, verified.code, refused.code) == (0, 0, 3), parts.stderr
    for ended in (shown, limited, continued, parts, verified, refused):
        assert SECRET not in ended.stderr + ended.stdout.decode()
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_an_address_is_no_place_for_results(llmbatch: Command, mock: Mock, store: ObjectStore, tmp_path: Path) -> None:
    for output in ("s3://bucket/out/", "s3://bucket/out.jsonl"):
        refused = llmbatch("run", "s3://bucket/in/a.jsonl", *mock("-o", output))
        assert refused.code == 2 and "is an address" in refused.stderr, refused.stderr
    assert not (tmp_path / "s3:").exists()
