"""What a run does to files that are not its results: nothing, unless it was asked to write them."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.result_lines import ok, put

from .command import Command


def prompts(path: Path, *names: str) -> str:
    return put(path, [{"id": name, "prompt": name} for name in names])


BATCH = ("--output-format", "openai-batch")


@pytest.mark.parametrize(
    "more",
    [
        ("-o", "in.jsonl", "--overwrite"),
        ("-o", "soft.jsonl", "--overwrite"),
        ("-o", "r.jsonl", "--summary-file", "in.jsonl"),
        ("-o", "r.jsonl", "--summary-file", "r.jsonl"),
        ("-o", "r.jsonl", "--summary-file", "not-there/../in.jsonl"),
        ("-o", "r.jsonl", "--metrics-file", "not-there/../../{}/in.jsonl"),
        ("-o", "r.jsonl", "--metrics-file", "hard.jsonl"),
        ("-o", "r.jsonl", "--metrics-file", "x", "--summary-file", "./x"),
        ("-o", "old.jsonl", "--reuse", "./old.jsonl"),
        ("-o", "t.txt", "--overwrite", "-t", "@t.txt"),
        ("-o", "schema.json", "--overwrite", "--schema", "schema.json"),
        ("-o", "config/llmbatch/config.toml", "--overwrite"),
        (*BATCH, "--error-file", "in.jsonl"),
        (*BATCH, "--error-file", "t.txt", "--system", "@t.txt"),
    ],
)
def test_no_flag_makes_a_run_write_what_it_reads(llmbatch: Command, tmp_path: Path, more: tuple[str, ...]) -> None:
    prompts(tmp_path / "in.jsonl", "a", "b")
    (tmp_path / "soft.jsonl").symlink_to("in.jsonl")
    os.link(tmp_path / "in.jsonl", tmp_path / "hard.jsonl")
    put(tmp_path / "old.jsonl", [ok("a", 0)])
    (tmp_path / "t.txt").write_text("{{ prompt }}")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    llmbatch.configure("retries = 4\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    more = tuple(word.format(tmp_path.name) for word in more)
    done = llmbatch("run", "in.jsonl", "-p", "mock", *more)
    assert done.code == 2 and "same file" in done.stderr, done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "option", [("--summary-file", "photo.png"), ("--metrics-file", "soft.png"), ("-o", "photo.png")]
)
def test_no_image_is_written_over_that_a_record_may_name(
    llmbatch: Command, tmp_path: Path, option: tuple[str, str]
) -> None:
    photo = b"\x89PNG\r\n\x1a\n and more"
    (tmp_path / "photo.png").write_bytes(photo)
    (tmp_path / "soft.png").symlink_to("photo.png")
    put(tmp_path / "in.jsonl", [{"prompt": "What is this?", "image": "photo.png"}])
    done = llmbatch("run", "in.jsonl", "-p", "mock", "-o", "r.jsonl", *option, "--image", "image", "--overwrite")
    assert done.code == 2 and "an image or a PDF" in done.stderr, done.stderr
    assert (tmp_path / "photo.png").read_bytes() == photo and not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize("why", ["other options", "no such template field", "no such input"])
def test_a_run_that_is_refused_leaves_every_file_as_it_was(llmbatch: Command, tmp_path: Path, why: str) -> None:
    source = prompts(tmp_path / "in.jsonl", "a", "b")
    run = ("run", "-p", "mock", "--include", "response", "-o", "r.jsonl", "--tee", *BATCH)
    assert llmbatch(*run, source).code == 0
    files = ("--error-file", "e.jsonl", "--metrics-file", "m.prom", "--summary-file", "s.json")
    for name in files[1::2]:
        (tmp_path / name).write_text("of an earlier run")
    more = {
        "other options": (source, "-m", "other"),
        "no such template field": (source, "-t", "{{ nowhere }}", "-o", "r2.jsonl"),
        "no such input": ("nowhere.jsonl",),
    }
    done = llmbatch(*run, *files, *more[why])
    assert done.code in (2, 3) and "Traceback" not in done.stderr
    assert {(tmp_path / name).read_text() for name in files[1::2]} == {"of an earlier run"}, done.stderr


def test_the_error_file_is_emptied_by_a_run_without_failures(llmbatch: Command, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("of an earlier run")
    assert llmbatch("run", "-p", "mock", *BATCH, "--error-file", "e.jsonl", stdin=["hi"]).code == 0
    assert (tmp_path / "e.jsonl").read_bytes() == b""


@pytest.mark.parametrize("flag", ["--error-file", "--summary-file", "--metrics-file"])
def test_devices_and_streams_are_written_to(llmbatch: Command, tmp_path: Path, flag: str) -> None:
    run = f"echo '\"hi\"' | llmbatch run -p mock -q --output-format openai-batch {flag}"
    assert llmbatch.shell(f"{run} /dev/null").code == 0 and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    done = llmbatch.shell(f"{run} /dev/stderr 2> log; test -f log")
    assert done.code == 0 and ((tmp_path / "log").read_bytes() != b"") == (flag != "--error-file")
    os.mkfifo(tmp_path / "fifo")
    assert llmbatch.shell(f"{run} fifo").code in (0, 6) and stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)
    taken = "" if flag == "--error-file" else "&& head -c 1 <&9 > read"
    assert llmbatch.shell(f"exec 9<>fifo; {run} fifo {taken}").code == 0
    assert not taken or (tmp_path / "read").read_bytes()


def test_a_summary_goes_through_a_process_substitution(llmbatch: Command, tmp_path: Path) -> None:
    done = llmbatch.shell("""echo '"hi"' | bash -c 'llmbatch run -p mock -q --summary-file >(cat > s.json); wait'""")
    assert done.code == 0
    assert llmbatch.shell("for i in 1 2 3 4 5 6 7 8 9; do test -s s.json && exit 0; sleep 0.1; done; exit 1").code == 0


@pytest.mark.parametrize("path", ["", ".", "/", "folder", "folder/", "new/", "/dev/null", "nowhere/r.jsonl"])
def test_a_results_file_that_cannot_be_one_is_a_message(llmbatch: Command, tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    for more in ((), ("--overwrite",), *([("--dry-run",)] if path != "/dev/null" else [])):
        done = llmbatch("run", "-p", "mock", "-o", path, *more, stdin=["hi"])
        assert done.code == 2 and "-o" in done.stderr and "Traceback" not in done.stderr, (more, done.stderr)
    assert list((tmp_path / "folder").iterdir()) == [] and stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("kind", ["fifo", "link to a fifo", "device", "folder"])
def test_a_settings_file_that_is_no_file_is_a_message(llmbatch: Command, kind: str) -> None:
    llmbatch.config.parent.mkdir(parents=True)
    if "fifo" in kind:
        os.mkfifo(fifo := llmbatch.config.with_name("fifo") if "link" in kind else llmbatch.config)
        if "link" in kind:
            llmbatch.config.symlink_to(fifo)
    elif kind == "device":
        llmbatch.config.symlink_to("/dev/zero")
    else:
        llmbatch.config.mkdir()
    for command in (("run", "-p", "mock"), ("config", "show")):
        done = llmbatch(*command, stdin=["hi"])
        assert done.code == 2 and "config.toml" in done.stderr, done.stderr


def test_an_empty_device_as_settings_file_is_no_settings(llmbatch: Command) -> None:
    llmbatch.config.parent.mkdir(parents=True)
    llmbatch.config.symlink_to("/dev/null")
    assert llmbatch("run", "-p", "mock", stdin=["hi"]).code == 0


@pytest.mark.parametrize("inputs", ["folder", "folder/*.jsonl", "folder/*"])
@pytest.mark.parametrize("flag", ["--summary-file", "--metrics-file", "-o"])
def test_what_a_run_writes_is_no_input_of_the_next(llmbatch: Command, tmp_path: Path, inputs: str, flag: str) -> None:
    (tmp_path / "folder").mkdir()
    prompts(tmp_path / "folder" / "in.jsonl", "a")
    name = "x.csv" if flag == "-o" and inputs != "folder/*.jsonl" else "x.jsonl"
    done = llmbatch("run", inputs, "-p", "mock", flag, f"folder/{name}")
    if name == "x.jsonl" and flag == "-o":
        assert done.code == 0, "results files are known by their FILE.state"
        assert "1 done, 0 to send" in llmbatch("run", inputs, "-p", "mock", flag, f"folder/{name}").stderr
    else:
        assert done.code == 2 and "would be one of the inputs" in done.stderr, done.stderr
        assert len(list((tmp_path / "folder").iterdir())) == 1
    assert llmbatch("run", inputs, "-p", "mock", flag, f"beside-{name}").code == 0
