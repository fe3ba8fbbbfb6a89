"""Inputs at an address: every byte once, of one version, whatever the network and the server do."""

import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmbatch.core.errors import InputError, LlmbatchError, UsageError
from llmbatch.input import object_store, remote
from llmbatch.input.address import credentials, parsed, shown
from llmbatch.input.bytes_at import bytes_at
from llmbatch.input.source import expand, open_source
from llmbatch.input.store_errors import explained
from tests.support.object_store import ObjectStore, serving

LINES = b"".join(b'{"id":%d,"prompt":"some text"}\n' % number for number in range(400))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Serve a store, read in ranges of a thousand bytes."""
    monkeypatch.setattr(object_store, "RANGE", 1000)
    monkeypatch.setattr(remote, "RANGE", 1000)
    monkeypatch.setattr(object_store, "_PAUSES", (0.01, 0.02))
    with serving() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        yield store


def values(*names: str, **options: Any) -> list[Any]:
    """Read all values of inputs."""
    found = []
    with closing(open_source(expand(names), format=None, max_line=1 << 20, **options)) as source:
        while entries := source.read(64):
            found += [entry.value if entry.error is None else entry.error for entry in entries]
    return found


def why(*names: str) -> str:
    """Return the message and the hint of the error that reading ends with."""
    with pytest.raises(LlmbatchError) as caught:
        values(*names)
    return f"{caught.value.message}. {caught.value.hint}"


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "http"])
def test_an_object_is_read_whole_in_ranges_of_one_version(store: ObjectStore, scheme: str) -> None:
    store.objects["bucket/in/a.jsonl"] = LINES
    place = f"{store.url}/bucket" if scheme == "http" else f"{scheme}://bucket"
    assert [value["id"] for value in values(f"{place}/in/a.jsonl")] == list(range(400))
    asked = [request for request in store.requests if request.range != "bytes=0-0"]
    assert len(asked) == -(-len(LINES) // 1000)
    assert len({request.if_match for request in asked[1:]}) == 1 and asked[1].if_match is not None


@pytest.mark.parametrize(
    "key", ["a b.jsonl", "é😀.jsonl", "x#y.jsonl", "w?.jsonl", "a*b.jsonl", "p%20q.jsonl", "[1].jsonl", "+&=~\\.jsonl"]
)
def test_a_key_is_taken_as_it_is_written(store: ObjectStore, key: str) -> None:
    store.objects[f"bucket/{key}"] = b'"found"\r\n"and the last line"'
    store.objects["bucket/azb.jsonl"] = b'"another"\n'
    for scheme in ("s3", "gs", "az"):
        assert values(f"{scheme}://bucket/{key}") == ["found", "and the last line"]


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_folders_and_patterns_stand_for_objects(store: ObjectStore, scheme: str) -> None:
    for key in ("b.jsonl", "a.jsonl", "c.txt.gz", "_SUCCESS", ".hidden.jsonl", "deep/d.jsonl", "deep/er/e.jsonl"):
        store.objects[f"bucket/in/{key}"] = b"x\n"
    store.objects["bucket/in/empty.jsonl"] = b""
    place = f"{scheme}://bucket/in/"
    names = {
        place: ["a.jsonl", "b.jsonl", "c.txt.gz"],
        f"{place}*.jsonl": ["a.jsonl", "b.jsonl"],
        f"{place}[ab]?jsonl": ["a.jsonl", "b.jsonl"],
        f"{place}*/*.jsonl": ["deep/d.jsonl"],
        f"{scheme}://bucket/**/e.jsonl": ["deep/er/e.jsonl"],
        f"{place}**/*.jsonl": ["a.jsonl", "b.jsonl", "deep/d.jsonl", "deep/er/e.jsonl"],
    }
    for name, keys in names.items():
        assert list(expand([name])) == [place + key for key in keys]
    store.requests.clear()
    with closing(open_source(expand([place]), format="text", max_line=100)):
        assert len(store.requests) == 1  # the listing tells sizes and versions of all


def test_what_is_compressed_json_or_empty_is_read_too(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl.gz"] = gzip.compress(LINES)
    store.objects["bucket/b.json"] = b'["element"]'
    store.objects["bucket/c.csv"] = b'prompt\n"two\nlines"\n'
    store.objects["bucket/d.jsonl"] = b""
    assert len(values("s3://bucket/a.jsonl.gz")) == 400
    assert values("s3://bucket/b.json", "s3://bucket/c.csv", "s3://bucket/d.jsonl") == [
        "element",
        {"prompt": "two\nlines"},
    ]


def test_parquet_is_read_by_its_footer_and_the_row_groups_that_are_wanted(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RANGE", 50_000)
    table = pa.table({"prompt": [f"{number} " + os.urandom(1000).hex() for number in range(400)]})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=100, compression="none", use_dictionary=False)
    store.objects["bucket/a.parquet"] = file.getvalue()
    assert values("s3://bucket/a.parquet") == table.to_pylist()
    store.requests.clear()
    with closing(open_source(["s3://bucket/a.parquet"], format=None, max_line=100, spans=[(1, 2)])) as source:
        assert source.read(1)[0].value == table.to_pylist()[100]
    lengths = [tuple(map(int, (one.range or "=0-0").partition("=")[2].split("-"))) for one in store.requests]
    assert sum(last - first for first, last in lengths) < len(file.getvalue()) / 2


def test_a_body_that_is_cut_and_a_busy_server_are_asked_again_for_the_rest(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl"] = LINES
    store.faults["bucket/a.jsonl"] = ["none", "cut", 503, "cut", 429, "none", "cut"]
    assert [value["id"] for value in values("s3://bucket/a.jsonl")] == list(range(400))
    asked = [request.range for request in store.requests]
    assert asked[1:6] == ["bytes=0-999"] * 5 and asked[-1].startswith("bytes=12000-")  # type: ignore[union-attr]


def test_a_network_that_stays_away_ends_the_run_and_keeps_what_was_read(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "PATIENCE", 0.05)
    store.objects["bucket/a.jsonl"] = LINES
    store.faults["bucket/a.jsonl"] = ["none"] * 3 + [500] * 200
    with closing(open_source(["s3://bucket/a.jsonl"], format=None, max_line=1000)) as source:
        lines = LINES[:2000].count(b"\n")
        assert sum(len(source.read(1)) for _ in range(lines)) == lines
        with pytest.raises(InputError, match=r"s3://bucket/a.jsonl: Scripted") as caught:
            source.read(1)
    assert "Run the same command again" in str(caught.value.hint)


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl"] = LINES
    for name in ("s3://bucket/a.jsonl", f"{store.url}/bucket/a.jsonl"):
        with closing(bytes_at(name)) as there:
            assert there.read_at(0, 10) == LINES[:10]
            store.objects["bucket/a.jsonl"] += b'"more"\n'
            with pytest.raises(InputError, match="was replaced while it was read"):
                there.read_at(1000, 10)


def test_a_server_without_ranges_is_read_once_into_a_copy(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl"] = LINES
    store.always["bucket/a.jsonl"] = "whole"
    assert len(values(f"{store.url}/bucket/a.jsonl")) == 400
    with closing(bytes_at(f"{store.url}/bucket/a.jsonl")) as there:
        assert not there.has_ranges
        assert [there.read_at(place, 1000) for place in (5000, 0)] == [LINES[5000:6000], LINES[:1000]]
    assert len(store.requests) < 12
    store.always["bucket/a.jsonl"] = "endless"
    assert "does not say how long it is" in why(f"{store.url}/bucket/a.jsonl")


def test_redirects_are_followed_and_the_query_goes_to_the_server_alone(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl"] = LINES
    name = f"{store.url}/bucket/a.jsonl?X-Amz-Signature=verysecret"
    store.always["bucket/a.jsonl"] = 302
    assert len(values(name)) == 400
    assert {request.query for request in store.requests} == {"X-Amz-Signature=verysecret"}
    store.always["bucket/a.jsonl"] = 403
    assert "verysecret" not in why(name) and "may have expired" in why(name)
    assert credentials(name) == ["X-Amz-Signature=verysecret"]
    assert credentials("https://me:word@host/a?b#c") == ["me:word", "b#c"]
    assert shown("HTTPS://me:word@host/a#b") == "HTTPS://host/a" and shown("s3://b/a?b#c") == "s3://b/a?b#c"


def test_what_cannot_be_read_is_told_with_what_to_do(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "FIRST_PATIENCE", 0.05)
    store.objects["bucket/a.jsonl"] = LINES
    assert "there is nothing at this address" in why("s3://bucket/b.jsonl")
    assert "there is no bucket other" in why("s3://other/a.jsonl") and "no bucket other" in why("s3://other/*.jsonl")
    assert "no object matches" in why("s3://bucket/*.csv") and "Known: .jsonl" in why("s3://bucket/none/")
    assert "names no bucket" in why("s3://")
    assert "between slashes" in why("s3://bucket/a//b.jsonl")
    store.always["bucket/a.jsonl"] = 403
    assert "access was refused (Scripted). Set AWS_ACCESS_KEY_ID" in why("s3://bucket/a.jsonl")
    assert "cannot be reached" in why("http://127.0.0.1:1/a.jsonl")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError) as caught:
        open_source(["s3://bucket/a.jsonl"], format=None, max_line=100)
    assert caught.value.hint == "pip install 'llmbatch[remote]'"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Error performing PUT http://169.254.169.254/token in 1ms - HTTP error: no route",
            "no credentials",
        ),
        ("status code: 301 Moved: <Error><Code>PermanentRedirect</Code></Error>", "Set AWS_REGION"),
        ("status code: 404: <Error><Code>NoSuchBucket</Code><Message>x</Message></Error>", "there is no bucket b"),
    ],
)
def test_the_words_of_stores_are_understood(text: str, words: str) -> None:
    error = explained(parsed("s3://b/k"), type("GenericError", (Exception,), {})(text))
    assert words in f"{error.message}. {error.hint}"


def test_the_keys_of_a_profile_are_used_where_the_environment_has_none(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from llmbatch.input.store_access import _profile

    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = id\naws_secret_access_key = s%cret\n")
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n[broken\n[default]\nregion = x\n")
    for name, value in (
        ("AWS_PROFILE", "work"),
        ("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials")),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")),
    ):
        monkeypatch.setenv(name, value)
    assert _profile() == {"aws_access_key_id": "id", "aws_secret_access_key": "s%cret"}
    (tmp_path / "none").write_text("[profile work]\nregion = eu-west-1\n")
    assert _profile()["aws_region"] == "eu-west-1"


def test_a_reader_that_waits_for_the_network_can_be_woken(store: ObjectStore) -> None:
    store.objects["bucket/a.jsonl"] = LINES
    source = open_source(["s3://bucket/a.jsonl"], format=None, max_line=1000)
    released = threading.Event()
    store.wait = released.wait
    woken = threading.Timer(0.1, source.interrupt)
    woken.start()
    assert source.read(10) == []
    source.close()
    released.set()
    woken.join()


def test_a_local_run_loads_nothing_of_this() -> None:
    program = "import sys, llmbatch.input.source; print([n for n in sys.modules if 'obstore' in n or 'remote' in n])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
