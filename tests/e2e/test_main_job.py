"""The main job: prompts in, answers out, as the README promises."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletion

from .command import SAMPLES, Command, Ended, Mock, lines_of, until


def test_the_demo_answers_every_sample_prompt(llmbatch: Command, tmp_path: Path) -> None:
    done = llmbatch("run", SAMPLES / "prompts.jsonl", "-p", "mock", "-o", "results.jsonl")
    assert done.code == 0 and done.stdout == b""
    asked = {record["id"] for record in lines_of(SAMPLES / "prompts.jsonl")}
    results = lines_of(tmp_path / "results.jsonl")
    assert len(asked) >= 200
    assert {r["id"] for r in results} == asked and len(results) == len(asked)
    assert all(r["status"] == "ok" and r["text"] and r["meta"].keys() == {"topic"} for r in results)
    assert re.search(rf"{len(asked)} of {len(asked)} answered", done.stderr)


def test_a_table_is_asked_through_a_template_file(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", SAMPLES / "reviews.csv", "-t", f"@{SAMPLES / 'sentiment.txt'}", *mock())
    assert done.code == 0
    assert {r["id"] for r in done.results} >= {"r001", "r002"}
    assert done.results[0]["meta"].keys() == {"product", "stars", "review"}
    assert mock.ledger('a customer review of "Trailhead 28 backpack"')


def test_a_batch_file_brings_the_providers_own_answers(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", SAMPLES / "openai-batch.jsonl", "--base-url", mock.base_url)
    assert done.code == 0
    for result in done.results:
        assert ChatCompletion.model_validate(result["response"]).choices[0].message.content == result["text"]


def test_batch_output_is_what_the_openai_client_reads(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch(
        "run", SAMPLES / "openai-batch.jsonl", "--base-url", mock.base_url, "--output-format", "openai-batch"
    )
    assert done.code == 0
    assert {line["custom_id"] for line in done.results} == {
        line["custom_id"] for line in lines_of(SAMPLES / "openai-batch.jsonl")
    }
    for line in done.results:
        assert line["error"] is None and line["response"]["status_code"] == 200
        assert ChatCompletion.model_validate(line["response"]["body"], strict=True).object == "chat.completion"


def test_five_thousand_records_flow_through_a_pipe(llmbatch: Command) -> None:
    make = """seq 1 5000 | sed 's/.*/{"id":&, "prompt":"fact about &"}/'"""
    done = llmbatch.shell(f"""{make} | llmbatch run -p mock -c 64 -q | grep -c '"text":"You asked: .fact about '""")
    assert done.stdout == b"5000\n" and done.stderr == ""


def test_an_endless_producer_gets_answers_at_once_and_memory_stays_flat(llmbatch: Command, mock: Mock) -> None:
    producer = subprocess.Popen(["bash", "-c", "yes '\"tell me more\"'"], stdout=subprocess.PIPE)
    assert producer.stdout is not None
    run = llmbatch.start("run", *mock("-c", "64", "-q"), stdin=producer.stdout.fileno())
    for _ in range(4000):  # each within the patience of a test, though the input has no end
        run.read_line()
    before = _memory(run.pid)
    for _ in range(16000):
        run.read_line()
    assert _memory(run.pid) - before < 20_000, "kB more than 16,000 records ago"
    run.process.stdout.close()  # type: ignore[union-attr]
    assert run.wait() == 141
    producer.kill()
    producer.wait()
    producer.stdout.close()


def test_results_come_while_the_input_is_open_and_silence_is_not_the_end(llmbatch: Command, mock: Mock) -> None:
    run = llmbatch.start("run", *mock("-q"))
    for number in range(3):
        run.write({"id": number, "prompt": f"question {number}"})
        assert run.read_line()["id"] == number
    assert run.process.poll() is None
    run.end_input()
    assert run.end() == Ended(0, b"", "")


def test_every_result_says_which_record_it_belongs_to(llmbatch: Command, mock: Mock) -> None:
    records = [{"id": "a", "prompt": "one", "row": 7}, {"id": 1, "prompt": "two"}, {"prompt": "three"}, "four"]
    done = llmbatch("run", *mock(), stdin=records)
    by_index = {r["index"]: r for r in done.results}
    assert [by_index[i]["id"] for i in range(4)] == ["a", 1, None, None]
    assert by_index[0]["meta"] == {"row": 7}
    assert len({r["record"] for r in done.results}) == len({r["key"] for r in done.results}) == 4


def test_repeated_records_without_ids_get_occurrences(llmbatch: Command, mock: Mock) -> None:
    done = llmbatch("run", *mock(), stdin=["same", "same", "other", "same"])
    assert sorted(r.get("occurrence", 0) for r in done.results) == [0, 0, 1, 2]
    assert done.code == 0


def test_ordered_results_stay_in_order_whatever_the_provider_does(
    llmbatch: Command, start_mock: Callable[..., Mock]
) -> None:
    mock = start_mock("--jitter", 0.05)
    records = [{"id": n, "prompt": f"question {n}"} for n in range(300)]
    ordered = llmbatch("run", *mock("-c", "50", "-k"), stdin=records)
    assert [r["id"] for r in ordered.results] == list(range(300))
    unordered = llmbatch("run", *mock("-c", "50"), stdin=records)
    assert [r["id"] for r in unordered.results] != list(range(300))


def test_text_output_is_a_json_string_a_line(llmbatch: Command, mock: Mock) -> None:
    records = ["[[mock:text value=two%0Alines]]", "[[mock:status code=400]]", "[[mock:text value=short]]"]
    done = llmbatch("run", *mock("--output-format", "text", "-k"), stdin=records)
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["two\nlines", None, "short"]
    assert done.code == 1


def test_raw_text_is_the_text_itself_without_failures(llmbatch: Command, mock: Mock) -> None:
    records = ["[[mock:text value=two%0Alines]]", "[[mock:status code=400]]", "[[mock:text value=short]]"]
    done = llmbatch("run", *mock("--output-format", "text", "--raw", "-k"), stdin=records)
    assert done.stdout == b"two\nlines\nshort\n"


def test_include_brings_request_response_and_input(llmbatch: Command, mock: Mock) -> None:
    record = {"id": "a", "prompt": "hello", "extra": [1, {"x": None}]}
    done = llmbatch("run", *mock("--include", "request,response", "--include", "input"), stdin=[record])
    assert done.result["input"] == record
    assert done.result["request"] == {"model": "mock-1", "messages": [{"role": "user", "content": "hello"}]}
    assert done.result["response"]["object"] == "chat.completion"
    plain = llmbatch("run", *mock(), stdin=[record])
    assert not plain.result.keys() & {"request", "response", "input"}


def test_the_flags_for_the_body_reach_the_provider(llmbatch: Command, mock: Mock) -> None:
    flags = ("--param", "top_p=0.9", "--param", "stop=END", "--temperature", "0.2", "--max-tokens", "7")
    done = llmbatch(
        *("run", *mock(*flags, "--system", "Be {{ mood }}.", "--override", "seed=3", "--include", "request")),
        stdin=[{"prompt": "hi", "mood": "brief", "params": {"temperature": 1, "seed": 1, "top_p": None}}],
    )
    assert done.result["request"] == {
        "model": "mock-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "temperature": 1,
        "stop": "END",
        "max_tokens": 7,
        "seed": 3,
    }
    assert done.result["finish_reason"] == "length"


def test_a_dry_run_shows_what_would_be_sent_and_needs_no_key(llmbatch: Command) -> None:
    done = llmbatch("run", "-m", "m", "--dry-run", "--max-tokens", "5", stdin=[{"id": 1, "prompt": "hi"}, {"x": 1}])
    assert done.code == 0
    assert done.result["url"] == "https://api.openai.com/v1/chat/completions"
    assert done.result["body"]["max_completion_tokens"] == 5
    assert "nothing sent" in done.stderr and "1 unusable" in done.stderr


def test_a_dry_run_sends_nothing_and_its_keys_are_those_of_the_run(llmbatch: Command, mock: Mock) -> None:
    records = [{"id": n, "prompt": f"dry question {n}"} for n in range(3)]
    dry = llmbatch("run", *mock("--dry-run"), stdin=records)
    assert not mock.ledger("dry question")
    wet = llmbatch("run", *mock(), stdin=records)
    assert {(r["record"], r["key"]) for r in dry.results} == {(r["record"], r["key"]) for r in wet.results}


def test_a_dry_run_into_head_ends_quietly(llmbatch: Command) -> None:
    done = llmbatch.shell("yes '\"hi\"' | llmbatch run -m m --dry-run -q | head -n 1; echo ${PIPESTATUS[1]}")
    request, code = done.stdout.splitlines()
    assert json.loads(request)["body"]["model"] == "m" and code == b"141" and done.stderr == ""


def test_a_dry_run_that_cannot_be_written_says_so(llmbatch: Command) -> None:
    with open("/dev/full", "wb") as full:
        done = llmbatch("run", "-m", "m", "--dry-run", stdin=["hi"], stdout=full.fileno())
    assert done.code == 6 and "No space left" in done.stderr


def test_retried_and_answered_records_count_their_attempts(llmbatch: Command, mock: Mock) -> None:
    records = [
        "[[mock:status code=429 retry-after-ms=10 times=2]] limited",
        "[[mock:status code=500 times=1]] broken",
        "fine",
    ]
    done = llmbatch("run", *mock("-k", "--summary", "json"), stdin=records)
    assert done.code == 0
    limited, broken, fine = done.results
    assert (limited["attempts"], broken["attempts"], fine["attempts"]) == (3, 2, 1)
    assert "possibly_billed" not in limited and broken["possibly_billed"] == 1
    summary = json.loads(done.stderr.splitlines()[-1])
    assert (summary["records"], summary["ok"], summary["requests"], summary["retries"]) == (3, 3, 6, 3)


def test_the_processes_of_a_run_die_with_it_even_when_it_is_killed(llmbatch: Command) -> None:
    run = llmbatch.start("run", "-p", "mock", "-q")
    run.write("hi")
    run.read_line()
    children = _children(run.pid)
    assert len(children) == 2  # the mock, and the one that holds the connections
    run.process.kill()
    run.wait()
    until(lambda: not any(map(_alive, children)))


def test_the_death_of_the_process_that_holds_the_connections_loses_nothing(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    records = ["recorded before", "[[mock:hang times=1]] in flight"]
    run = llmbatch.start("run", *mock("-o", "out.jsonl"))
    run.write(*records)
    run.end_input()
    settled_and_sent = {255, 1}
    until(lambda: any(settled_and_sent <= {*m.read_bytes()[::2]} for m in tmp_path.glob("out.jsonl.state/marks-?")))
    (holder,) = _children(run.pid)
    os.kill(holder, signal.SIGKILL)
    done = run.end()
    assert (
        done.code == 70
        and "the process that holds the connections" in done.stderr
        and "saved      1 answer" in done.stderr
    )
    # The process may have died before the mock got the request, which then hangs this time.
    rest = llmbatch("run", *mock("-o", "out.jsonl", "--timeout", 5), stdin=records)
    assert rest.code == 0
    fine, slow = lines_of(tmp_path / "out.jsonl")
    assert (fine["status"], slow["status"]) == ("ok", "ok")
    assert slow["possibly_billed"] >= 1 and "possibly_billed" not in fine
    assert len(mock.ledger("recorded before")) == 1


def test_a_provider_that_dies_ends_the_run_with_what_was_saved(
    llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock()
    run = llmbatch.start("run", *mock("-o", "out.jsonl", "--max-outage", 1))
    run.write("first")
    until(lambda: (tmp_path / "out.jsonl").exists() and lines_of(tmp_path / "out.jsonl"))
    mock.kill()
    run.write(*[f"later {n}" for n in range(40)])
    run.end_input()
    done = run.end()
    assert done.code == 5 and "--max-outage" in done.stderr and "saved      1 answer" in done.stderr
    assert [r["status"] for r in lines_of(tmp_path / "out.jsonl")] == ["ok"]
    again = start_mock()
    rest = llmbatch("run", *again("-o", "out.jsonl"), stdin=["first", *[f"later {n}" for n in range(40)]])
    assert rest.code == 0 and len(lines_of(tmp_path / "out.jsonl")) == 41
    assert not again.ledger("first")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_both_event_loops_do_the_job(loop: str, llmbatch: Command, mock: Mock, tmp_path: Path) -> None:
    env = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        env["PYTHONPATH"] = str(tmp_path)
    done = llmbatch("run", *mock("-c", "32"), stdin=[f"question {n}" for n in range(200)], env=env)
    assert done.code == 0 and len(done.results) == 200


def _memory(pid: int) -> int:
    """Return resident kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(("records", "words"), [(20, r"of 20 answered"), (5000, r"of the first [\d,]+ answered")])
def test_a_run_that_stops_says_whether_it_has_read_the_whole_input(
    records: int, words: str, llmbatch: Command, start_mock: Callable[..., Mock], tmp_path: Path
) -> None:
    mock = start_mock("--latency", 0.5)
    (tmp_path / "in.jsonl").write_text('"question"\n' * records)
    done = llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl", "-c", 1, "--deadline", "1s"))
    assert done.code == 5 and re.search(rf"\d {words} · [\d,]+ not sent", done.stderr), done.stderr


def test_lines_of_records_beyond_the_limit_are_not_told_as_lines_without_a_record(
    llmbatch: Command, mock: Mock, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('"question"\n' * 30)
    assert llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl")).code == 0
    limited = llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl", "--limit", 10, "--prune"))
    assert "20 lines outside of --limit, which --prune leaves where they are" in limited.stderr
    sampled = llmbatch("run", "in.jsonl", *mock("-o", "out.jsonl", "--sample", 10))
    assert "20 lines outside of --sample" in sampled.stderr and "without a record" not in sampled.stderr
    assert len(lines_of(tmp_path / "out.jsonl")) == 30
