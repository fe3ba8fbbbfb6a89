"""Inputs in S3, against moto's server: parts with a kill, Parquet, bounded memory, versions, errors of the real API.

Run by `make scale`. The mock's ledger judges: nothing lost, nothing billed again that the books do not show.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from tests.e2e.command import Command, Mock, lines_of, until

pytestmark = pytest.mark.xdist_group("s3")

ROWS = 2000
LARGE = 200 << 20


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve S3 on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def bucket(url: str) -> S3Store:
    """Make a bucket."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).read()
    keys = {"access_key_id": "key", "secret_access_key": "secret"}
    return S3Store("bucket", endpoint=url, client_options={"allow_http": True}, config=keys)


@pytest.fixture
def llmbatch(tmp_path: Path, url: str, bucket: S3Store) -> Iterator[Command]:
    command = Command(tmp_path)
    command.environment |= {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    yield command
    command.close()


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    provider = Mock(tmp_path, "--latency", "0.05")
    yield provider
    provider.close()


def records(first: int, last: int) -> bytes:
    return b"".join(b'{"id":%d,"prompt":"s3 prompt %d"}\r\n' % (number, number) for number in range(first, last))


def test_a_run_that_is_killed_over_objects_of_all_kinds_is_continued_and_complete(
    llmbatch: Command, mock: Mock, bucket: S3Store, tmp_path: Path
) -> None:
    obstore.put(bucket, "mixed/a 😀#.jsonl", records(0, 1000).rstrip())
    table = pa.table({"id": range(1000, 1500), "prompt": [f"s3 prompt {number}" for number in range(1000, 1500)]})
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=100)
    obstore.put(bucket, "mixed/b.parquet", tmp_path / "b.parquet")
    rows = "".join(f'{number},"s3 prompt {number}"\n' for number in range(1500, ROWS))
    obstore.put(bucket, "mixed/c.csv", f"id,prompt\n{rows}".encode())
    obstore.put(bucket, "mixed/empty.jsonl", b"")
    command = ["run", "s3://bucket/mixed/", *mock("-o", "out/", "--part-size", "200", "-c", "10", "--processes", "2")]
    killed = llmbatch.start(*command)
    until(lambda: len(mock.ledger("s3 prompt")) > 300, patience=60)
    killed.process.kill()
    killed.wait()
    ended = llmbatch(*command, timeout=100)
    assert ended.code == 0, ended.stderr
    lines = [line for file in sorted(tmp_path.glob("out/part-*.jsonl")) for line in lines_of(file)]
    assert Counter(str(line["id"]) for line in lines) == dict.fromkeys(map(str, range(ROWS)), 1)
    again = len(mock.ledger("s3 prompt")) - ROWS
    assert again <= sum(line.get("possibly_billed", 0) for line in lines)
    verified = llmbatch("verify", "s3://bucket/mixed/", "-o", "out/")
    assert verified.code == 0, verified.stdout + verified.stderr.encode()
    obstore.put(bucket, "mixed/c.csv", f"id,prompt\n{rows}".replace("s3", "S3").encode())
    changed = llmbatch(*command)
    assert changed.code == 2 and "s3://bucket/mixed/c.csv: version " in changed.stderr


def test_memory_does_not_grow_with_an_object(llmbatch: Command, bucket: S3Store, tmp_path: Path) -> None:
    line = json.dumps({"prompt": "x" * 2000}).encode() + b"\n"
    obstore.put(bucket, "large.jsonl", line * (LARGE // len(line)))
    program = (
        "from llmbatch.input.source import open_source\n"
        "source = open_source(['s3://bucket/large.jsonl'], format=None, max_line=1 << 20)\n"
        "while entries := source.read(64): pass\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    environment = os.environ | llmbatch.environment
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert int(ended.stdout) << 10 < 100 << 20


@pytest.mark.parametrize(
    ("name", "environment", "words"),
    [
        ("s3://bucket/none.jsonl", {}, "there is nothing at this address"),
        ("s3://no-such-bucket/a.jsonl", {}, "there is no bucket no-such-bucket"),
        ("s3://no-such-bucket/*.jsonl", {}, "there is no bucket no-such-bucket"),
        ("s3://bucket/none/*.jsonl", {}, "no object matches"),
        ("s3://bucket/a.jsonl", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "the server cannot be reached"),
    ],
)
def test_what_cannot_be_read_is_exit_3(llmbatch: Command, name: str, environment: dict[str, str], words: str) -> None:
    llmbatch.environment |= environment
    ended = llmbatch("run", name, "-p", "mock")
    assert ended.code == 3 and words in ended.stderr, ended.stderr
