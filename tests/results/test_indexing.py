"""The lines of a results file, as they are indexed many at a time and one by one."""

import json
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.core.errors import UsageError
from llmbatch.results import indexing
from llmbatch.results.opening import open_store
from llmbatch.results.store import Store
from tests.support.deep import examples
from tests.support.result_lines import failed, ok, put

GOOD = (
    st.builds(ok, st.integers(0, 99) | st.text(max_size=3) | st.none() | st.just(2**70), st.integers(0, 2**66))
    | st.builds(failed, st.text("ab", min_size=1, max_size=6), st.integers(0, 9), billed=st.booleans())
    | st.builds(ok, st.just("x"), occurrence=st.integers(0, 50))
    | st.builds(failed, st.text("cd", min_size=1, max_size=6), possibly_billed=st.just(1), key=st.just("c" * 32))
    | st.builds(failed, st.text("ef", min_size=1, max_size=6), key=st.none())
)
BLANK = st.sampled_from([b"\n", b" \t\n"])
HOSTILE = st.sampled_from([b"{}\n", b"\xff\n", b'{"id":1}\n', b'{"id":"a","ind\n', b"[" * 2000 + b"\n"]) | st.builds(
    lambda line, name, value: json.dumps(line | {name: value}).encode() + b"\n",
    GOOD,
    st.sampled_from(["id", "index", "status", "record", "key", "occurrence", "error"]),
    st.sampled_from([None, True, 1.5, -1, "", "0x1234567890abcdef", "g" * 32, [], {}]),
)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LONG", 1)
    monkeypatch.setattr(indexing, "_PIECE", 300)
    monkeypatch.setattr(indexing, "can_fork", lambda: True)


def found_in(path: Path, *, move_broken: bool) -> Any:
    try:
        with open_store(path, fsync="never", move_broken=move_broken) as store:
            lines = store._lines
            columns = (lines._identities, lines._checks, lines._keys, lines._places)
            assert all(
                lines.find(name | check << 64) == place
                for place, (name, check) in enumerate(zip(*columns[:2], strict=True))
            )
            found = store.found
            return [*map(list, columns)], store._unsure_keys, (found.ok, found.failed), store._doubts.keys
    except UsageError as error:
        return error.message


@settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(GOOD | BLANK, max_size=12) | st.lists(GOOD | GOOD | BLANK | HOSTILE, max_size=12), st.booleans())
def test_many_at_a_time_and_in_two_processes_lines_are_indexed_as_one_by_one(
    two_cores: None, lines: list[Any], move_broken: bool
) -> None:
    found = []
    for one_by_one in (False, True):
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            if one_by_one:
                patch.setattr(Store, "_index", Store._index_one_by_one)
            put(Path(folder, "out.jsonl"), [ok("first"), *lines])
            found.append(str(found_in(Path(folder, "out.jsonl"), move_broken=move_broken)).replace(folder, ""))
    assert found[0] == found[1]


def test_the_index_grows_as_lines_are_added(tmp_path: Path, two_cores: None) -> None:
    path = Path(put(tmp_path / "out.jsonl", [ok(f"id{n}", n) for n in range(1000)]))
    with open_store(path, fsync="never") as store:
        assert (store.found.ok, len(store._lines)) == (1000, 1000)
        assert 2 * len(store._lines._slots) >= 3 * 1000


def test_a_second_process_that_ends_is_done_without(
    tmp_path: Path, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, read = os.getpid(), indexing._read

    def unless_a_child(*arguments: Any) -> Any:
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(*arguments)

    monkeypatch.setattr(indexing, "_read", unless_a_child)
    path = Path(put(tmp_path / "out.jsonl", [ok(f"id{n}", n) for n in range(100)]))
    with open_store(path, fsync="never") as store:
        assert store.found.ok == 100
