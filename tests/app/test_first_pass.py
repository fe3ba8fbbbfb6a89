"""What a first pass over the input finds, and what a second one makes of it."""

import csv
import gzip
import io
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.app import first_pass
from llmbatch.app.first_pass import take_survey
from llmbatch.app.input import InputReader
from llmbatch.app.survey import Survey
from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.job import Job
from llmbatch.core.outcome import AlreadyDone
from llmbatch.core.settings import InputSettings, ModelSettings, Redo, Settings
from llmbatch.results.reader import ReadOnlyResults, open_results
from llmbatch.results.resume_policy import Action, ResumePolicy
from tests.support.deep import examples
from tests.support.dialects import dialect_of
from tests.support.result_lines import failed, ok, put

POLICIES = [
    ResumePolicy(changed="rerun"),
    ResumePolicy(changed="keep", redo=Redo("none")),
    ResumePolicy(redo=Redo("all"), changed="rerun"),
    ResumePolicy(redo=Redo(ids=frozenset(["a", 1])), changed="rerun"),
]
RECORDS = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["a", "b", 1, 2, None]), "prompt": st.sampled_from("xy")})
    | st.sampled_from(["text", "other"])
    | st.just({"id": "unusable"}),
    min_size=1,
    max_size=12,
)


def a_run(*paths: Path, shard: tuple[int, int] | None = None, limit: int | None = None, **more: Any) -> Settings:
    return Settings(
        input=InputSettings(tuple(map(str, paths)), shard=shard, limit=limit, **more),
        model=ModelSettings(provider="mock", model="m"),
    )


def everything(run: Settings, survey: Survey | None = None, batch: int = 3) -> list[Any]:
    """Read all records; those that a survey shows to be done come as such."""
    with closing(InputReader(run.input, run.model, lambda text: None)) as reading:
        jobs, records = reading.jobs(dialect_of(run), survey=survey), list[Any]()
        while found := jobs.read(batch):
            records += found
    return records


def name(record: Any) -> tuple[Any, ...]:
    identity = record.identity
    return identity.index, identity.id, identity.record, identity.occurrence, record.key


def lines_for(records: list[Any], fates: list[str]) -> list[Any]:
    """Results of some records: answered, failed, or answered when they were different."""
    lines = []
    for record, fate in zip(records, fates, strict=True):
        index, id, digest, occurrence, key = name(record)
        more: dict[str, Any] = {"record": digest, "key": key} | ({"occurrence": occurrence} if occurrence else {})
        if fate == "failed":
            lines.append(failed(id, index, **more))
        elif fate != "none":
            lines.append(ok(id, index, **more | ({"record": "0" * 32, "key": "f" * 32} if fate == "edited" else {})))
    return lines


@contextmanager
def results_of(path: Path, lines: list[Any]) -> Iterator[ReadOnlyResults]:
    with open_results([put(path, lines)]) as (file,):
        yield file.by_record()


def write(path: Path, records: list[Any]) -> Path:
    if path.suffix == ".csv":
        out = io.StringIO()
        table = csv.DictWriter(out, ["id", "prompt"])
        table.writeheader()
        table.writerows({"prompt": one} if isinstance(one, str) else one for one in records)
        path.write_text(out.getvalue())
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        text = "".join(f"{json.dumps(one)}\n{' ' * (index % 2)}\n" for index, one in enumerate(records)).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, st.data())
def test_a_second_pass_hands_out_what_does_not_keep_its_line_as_if_it_were_the_first(
    records: list[Any], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        cut = data.draw(st.integers(0, len(records)))
        ending = data.draw(st.sampled_from(["jsonl", "csv", "json", "jsonl.gz"]))
        parts = [part for part in (records[:cut], records[cut:]) if part]
        inputs = [write(Path(folder, f"{number}.{ending}"), part) for number, part in enumerate(parts)]
        limit = data.draw(st.sampled_from([None, 1, 5]))
        run = a_run(*inputs, shard=data.draw(st.sampled_from([None, (1, 2)])), limit=limit)
        all_records = everything(run)
        fates = st.sampled_from(["none", "ok", "ok", "failed", "edited"])
        of_each = data.draw(st.lists(fates, min_size=len(all_records), max_size=len(all_records)))
        policy = data.draw(st.sampled_from(POLICIES))
        with results_of(Path(folder, "out.jsonl"), lines_for(all_records, of_each)) as results:
            decided = [(one, results.decide(one.identity, one.key, policy)) for one in all_records]
            survey = take_survey(run.input, run.model, dialect_of(run), results, policy)
        assert survey is not None

        kept = {Action.KEEP_OK: AlreadyDone.OK, Action.KEEP_FAILED: AlreadyDone.FAILED}
        found = everything(run, survey, batch=data.draw(st.integers(1, 4)))
        others = [one for one in found if not isinstance(one, AlreadyDone)]
        assert [name(one) for one in others] == [name(one) for one, done in decided if done.action not in kept]
        done_before = Counter(kept[done.action] for _, done in decided if done.action in kept)
        assert Counter(one for one in found if isinstance(one, AlreadyDone)) == done_before == Counter(survey.kept())
        assert survey.records == len(all_records)
        assert survey.is_done == (not others)
        assert {action: survey.count(action) for action in Action} == {
            action: sum(done.action is action for _, done in decided) for action in Action
        }
        assert survey.worked == {
            one.route for one, done in decided if done.action is Action.KEEP_OK and isinstance(one, Job)
        }


def seen_in(survey: Survey | None) -> tuple[Any, ...]:
    assert survey is not None
    return bytes(survey.codes), list(survey.repeats), survey.worked, survey.ids_in_doubt, survey.records


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the input is, and whatever threads the tests have."""
    monkeypatch.setattr(first_pass, "LONG", 0)
    monkeypatch.setattr(first_pass, "can_fork", lambda: True)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(RECORDS, st.data())
def test_two_processes_find_what_one_finds(two_cores: None, records: list[Any], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        cuts = sorted(data.draw(st.lists(st.integers(1, len(records)), max_size=2)))
        ending = data.draw(st.sampled_from(["jsonl", "csv", "jsonl.gz", "jsonl"]))
        parts = [part for a, b in pairwise([0, *cuts, len(records)]) if (part := records[a:b])]
        inputs = [write(Path(folder, f"{number}.{ending}"), part) for number, part in enumerate(parts)]
        run = a_run(*inputs, shard=data.draw(st.sampled_from([None, (2, 2)])))
        all_records = everything(run)
        fates = st.sampled_from(["none", "ok", "ok", "failed", "edited"])
        of_each = data.draw(st.lists(fates, min_size=len(all_records), max_size=len(all_records)))
        policy = data.draw(st.sampled_from(POLICIES))
        with results_of(Path(folder, "out.jsonl"), lines_for(all_records, of_each)) as results:
            survey = take_survey(run.input, run.model, dialect_of(run), results, policy)
            matched = results.matched
            alone = first_pass._FirstPass(run.input, run.model, dialect_of(run), results, policy).alone()
            assert seen_in(survey) == seen_in(alone) and matched == results.matched
        assert survey is not None
        assert [name(one) for one in everything(run, survey) if not isinstance(one, AlreadyDone)] == [
            name(one) for one in everything(run, alone) if not isinstance(one, AlreadyDone)
        ]


@pytest.mark.parametrize(
    ("files", "is_cut"),
    [
        ([["a", "b", "c", "d"]], True),
        ([["a", "b"], ["c"], ["d"]], True),
        ([["a", "b", "a", "c"]], False),
        ([["a", "b", "c"], ["d", "a"]], False),
    ],
    ids=["one file", "several", "repeated", "repeated elsewhere"],
)
def test_a_second_process_helps_unless_records_are_repeated(
    two_cores: None, tmp_path: Path, files: list[list[str]], is_cut: bool
) -> None:
    run = a_run(*[write(tmp_path / f"{number}.jsonl", records) for number, records in enumerate(files)])
    with results_of(tmp_path / "out.jsonl", lines_for(found := everything(run), ["ok"] * len(found))) as results:
        survey = first_pass._FirstPass(run.input, run.model, dialect_of(run), results, POLICIES[0]).on_two_cores()
        assert (survey is not None) == is_cut
        survey = take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])
    assert survey is not None and survey.is_done and survey.records == len(found)


def test_a_second_process_that_ends_is_done_without(
    two_cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(write(tmp_path / "in.jsonl", ["a", "b", "c", "d"]))
    ours, half = os.getpid(), first_pass._FirstPass._half

    def unless_a_child(*arguments: Any, **more: Any) -> Any:
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        return half(*arguments, **more)

    monkeypatch.setattr(first_pass._FirstPass, "_half", unless_a_child)
    with results_of(tmp_path / "out.jsonl", lines_for(everything(run), ["ok", "none", "ok", "none"])) as results:
        survey = take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])
    assert survey is not None and (survey.count(Action.KEEP_OK), survey.count(Action.SEND)) == (2, 2)


def test_fields_that_no_record_has_are_told_in_two_processes_too(two_cores: None, tmp_path: Path) -> None:
    run = a_run(write(tmp_path / "in.jsonl", [{"id": n, "prompt": "x"} for n in range(200)]), id_field="ID")
    with results_of(tmp_path / "out.jsonl", []) as results, pytest.raises(UsageError, match="--id-field 'ID'"):
        take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])


@pytest.mark.parametrize("ending", ["jsonl", "csv", "json", "txt", "jsonl.gz", "parquet"])
def test_an_input_that_is_replaced_between_the_passes_is_noticed(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"in.{ending}"

    def put_there(text: str) -> None:
        records = [{"id": str(n), "prompt": f"{text} {n}"} for n in range(50)]
        if ending == "parquet":
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            pq.write_table(pa.Table.from_pylist(records), source)
        elif ending == "txt":
            source.write_text("".join(f"{one['prompt']}\n" for one in records))
        else:
            write(source, records)

    put_there("old")
    run = a_run(source)
    first = everything(run)
    with results_of(tmp_path / "out.jsonl", lines_for(first, ["ok"] * 49 + ["none"])) as results:
        survey = take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])
    assert survey is not None and survey.count(Action.SEND) == 1
    assert [name(one) for one in everything(run, survey) if isinstance(one, Job)] == [name(first[-1])]
    put_there("new")
    with pytest.raises(InputError, match=f"in.{ending} is not what it was when its records were counted"):
        everything(run, survey)


def test_what_is_added_between_the_passes_is_left_for_the_next_run(tmp_path: Path) -> None:
    run = a_run(write(tmp_path / "in.jsonl", ["a", "b", "c"]))
    first = everything(run)
    with results_of(tmp_path / "out.jsonl", lines_for(first, ["ok", "none", "none"])) as results:
        survey = take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])
        with (tmp_path / "in.jsonl").open("a") as more:
            more.write('"d"\n')
        found = everything(run, survey)
        assert [name(one) for one in found[1:]] == [name(one) for one in first[1:]]
        survey = take_survey(run.input, run.model, dialect_of(run), results, POLICIES[0])
    assert survey is not None and survey.records == 4


@pytest.mark.parametrize(("shards", "expected"), [(4, [2, 1, 2, 2, 2, 4]), (256, [74, 45, 130, 246, 98, 256])])
def test_the_shard_of_a_record_is_the_same_in_every_version(tmp_path: Path, shards: int, expected: list[int]) -> None:
    path = tmp_path / "in.jsonl"
    ids = ["a", "b", 7, "7", "é😀"]
    records: list[Any] = [{"id": id, "prompt": "x"} for id in ids] + ["no id"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for shard in {1, *expected}:
        mine = [one.identity.index for one in everything(a_run(path, shard=(shard, shards)))]
        assert mine == [index for index, number in enumerate(expected) if number == shard], shard
