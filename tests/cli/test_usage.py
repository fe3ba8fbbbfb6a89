"""Errors on the command line or in the settings file are reported before anything is sent."""

from pathlib import Path

import pytest

from .conftest import Cli

UNSPOKEN = ("ollama", "fireworks", "openrouter")
"""Providers without a batch API, or with one that is not spoken; none of them is asked for a key."""

USAGE = [
    (("--model",), "requires an argument"),
    (("-p", "opnai"), "Did you mean -p openai?"),
    (("-p", "nosuchthing"), "llmbatch providers"),
    (("--modle", "x"), "--model"),
    ((), "Name one with -m MODEL"),
    (("-m", "m", "-c", "0"), "--concurrency '0'"),
    (("-m", "m", "--pack", "0"), "--pack '0'"),
    (("-m", "m", "--pack", "many"), "--pack 'many'"),
    (("-m", "m", "--pack", "9999"), "--pack '9999'"),
    (("-m", "m", "--endpoint", "embeddings", "--max-tokens", "5"), "--max-tokens"),
    (("-m", "m", "--endpoint", "embeddings", "--temperature", "0"), "temperature"),
    (("-m", "m", "--endpoint", "completions", "-s", "Be brief."), "system"),
    (("-m", "m", "-c", "many"), "--concurrency 'many'"),
    (("-m", "m", "-b", "0"), "--batch-size 0"),
    (("-m", "m", "--limit", "-1"), "--limit -1"),
    (("-m", "m", "--limit", "1e3"), "--limit"),
    (("-m", "m", "--retries", "-1"), "--retries -1"),
    (("-m", "m", "--timeout", "soon"), "--timeout 'soon'"),
    (("-m", "m", "--timeout", "0"), "--timeout '0'"),
    (("-m", "m", "--deadline", "-5"), "--deadline '-5'"),
    (("-m", "m", "--fail-on", "some"), "--fail-on 'some'"),
    (("-m", "m", "--fail-on", "101%"), "--fail-on '101%'"),
    (("-m", "m", "--max-failures", "-1"), "--max-failures '-1'"),
    (("-m", "m", "--temperature", "nan"), "--temperature nan"),
    (("-m", "m", "--max-tokens", "0"), "--max-tokens 0"),
    (("-m", "m", "--param", "top_p"), "--param 'top_p'"),
    (("-m", "m", "--override", "=1"), "--override '=1'"),
    (("-m", "m", "--input-format", "yaml"), "--input-format 'yaml' is not one of jsonl, "),
    (("-m", "m", "--output-format", "jsonlines"), "Did you mean jsonl?"),
    (("-m", "m", "--output-format", "text", "-o", "x"), "-o is always llmbatch JSONL"),
    (("-m", "m", "--raw", "--output-format", "openai-batch"), "--raw is text, not openai-batch"),
    (("-m", "m", "--raw", "-o", "x"), "-o is always llmbatch JSONL"),
    (("-m", "m", "--redo", "shema"), "Did you mean schema?"),
    (("-m", "m", "--redo", "all", "--keep-failed"), "contradict"),
    (("-m", "m", "--redo", "@nosuchfile"), "--redo @nosuchfile"),
    (("-m", "m", "-t", "in.jsonl"), "--template @in.jsonl"),
    (("-m", "m", "-s", "./in.jsonl"), "--system @./in.jsonl"),
    (("-m", "m", "-t", "Caf\udce9: {{ prompt }}"), "--template is not UTF-8 text"),
    (("-m", "m", "--system", "Caf\udce9"), "--system is not UTF-8 text"),
    (
        (
            "-m",
            "m\udcff",
        ),
        "--model is not UTF-8 text",
    ),
    (("-m", "m", "--param", "stop=\udcff"), "--param is not UTF-8 text"),
    (("-m", "m", "--header", "X: \udcff"), "--header"),
    (("-m", "m", "--param", "top_p=1e400"), "--param top_p holds inf"),
    (("-m", "m", "--param", "top_p=NaN"), "--param top_p holds nan"),
    (("-m", "m", "--override", 'bias={"a":[-Infinity]}'), "--override bias holds -inf"),
    (("-m", "m", "--override", f"seed={2**64}"), "more than 64 bits"),
    (("-m", "m", "--param", f"seed={'9' * 5000}"), "--param seed"),
    (("-m", "m", "--param", "x=" + "[" * 9000 + "]" * 9000), "--param x"),
    (("-m", "m", "--param", 'stop="\\ud800"'), "not Unicode"),
    (("-m", "m", "--overwrite"), "--overwrite needs -o"),
    (("-m", "m", "--include", "everything"), "--include 'everything'"),
    (("-m", "m", "--summary", "xml"), "--summary 'xml'"),
    (("-m", "m", "--summary-file", "."), "--summary-file ."),
    (("-m", "m", "--summary-file", "no/such/place"), "--summary-file no/such/place"),
    (("-m", "m", "--rescue-dir", "no/such/place"), "--rescue-dir no/such/place"),
    (("-m", "m", "--rescue-dir", __file__), "is not a directory"),
    (("-m", "m", "--color", "blue"), "--color 'blue'"),
    (("-m", "m", "--endpoint", "replies"), "--endpoint"),
    (("-m", "m", "--auth-header", "api key"), "--auth-header"),
    (("-m", "m", "--auth-header", "Host"), "--auth-header"),
    (("-m", "m", "--endpoint", "/a#b"), "--endpoint"),
    (("-m", "m", "--base-url", "ftp://x/v1"), "--base-url"),
    (("-m", "m", "--base-url", "localhost:8000/v1"), "--base-url"),
    (("-m", "m", "--base-url", "http://u:p@localhost/v1"), "user name or password"),
    (("-m", "m", "--base-url", "http://localhost/v1?key=x"), "query"),
    (("-m", "m", "--header", "no colon"), "--header"),
    (("-m", "m", "--header", "Authorization: Bearer x"), "--key-env"),
    (("-m", "m", "--header", "Host: x"), "--header Host"),
    (("-m", "m", "--key-env", "A", "--key-file", "b"), "--key-env and --key-file"),
    (("-m", "m", "--profile", "nosuch"), "no profile 'nosuch'"),
    (("-m", "m", "-t", "{{ unclosed"), "--template"),
    (("-m", "m", "-t", "@no-such-file"), "--template"),
    (("-m", "m", "-t", "{{ missing }}"), "missing"),
    (("-m", "m", "-s", "{{ missing }}"), "missing"),
    (("-m", "m", "--ca-file", "no-such-file"), "no-such-file"),
    (("-m", "m", "-", "-"), "stdin can be read only once"),
    (("-m", "m", "--tier", "fast"), "--tier 'fast' is not one of flex"),
    (("-m", "m", "--tier", "flex", "-p", "gemini"), "gemini has no such service tier"),
    (("-m", "m", "--tier", "priority", "-p", "groq"), "groq has no such service tier"),
    (("-m", "m", "--tier", "flex", "--endpoint", "embeddings"), "not for embeddings"),
    (("-m", "m", "--tier", "flex", "-o", "o", "--batch-api"), "--tier is for live requests"),
    (("-m", "m", "--batch-api"), "--batch-api needs -o FILE"),
    *((("-m", "m", "-o", "o", "--batch-api", "-p", name), f"{name} has no batch API") for name in UNSPOKEN),
    (("-m", "m", "-o", "o", "--batch-api", "--base-url", "http://a/v1", "--base-url", "http://b/v1"), "one server"),
    (("-m", "m", "-o", "o", "--batch-api", "--batch-window", "5h"), "openai takes 24h"),
    (("-m", "m", "-o", "o", "--batch-api", "-p", "dashscope", "--batch-window", "25h"), "24h, 48h"),
]


@pytest.mark.parametrize(("flags", "words"), USAGE, ids=lambda value: " ".join(value) if type(value) is tuple else "")
def test_wrong_usage_is_exit_2_with_a_word_on_what_is_wrong(
    flags: tuple[str, ...], words: str, cli: Cli, one_record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    inputs = () if "-" in flags else (one_record,)
    code, said = cli("run", *inputs, *flags)
    assert code == 2 and words in said


BROKEN = {
    "no TOML": ("model = m", "config.toml"),
    "an unknown setting": ('modle = "m"', "Did you mean model?"),
    "an unknown setting in a profile": ("[profile.p]\nconcurency = 3", "Did you mean concurrency?"),
    "a key": ('api-key = "sk-1"', "Keys come from the environment"),
    "a setting in both spellings": ("max-tokens = 5\nmax_tokens = 6", "is there twice, with - and with _"),
    "an unknown table": ("[retry]\ntimes = 3", "unknown setting 'retry'"),
    "profiles that are none": ('profile = "x"', "a profile is a table"),
    "a profile that is none": ("[profile]\nx = 1", "a profile is a table"),
    "a table for a value": ("model = {a = 1}", "model is a value"),
    "a list for a value": ("limit = [1]", "limit is a value"),
    "no number": ('limit = "many"', "config.toml: limit = 'many': "),
    "half a number": ("limit = 1.5", "config.toml: limit = 1.5: "),
    "no number in a profile": ("[profile.p]\nrpm = 'fast'", "config.toml: rpm = 'fast': "),
    "no duration": ('timeout = "soon"', "--timeout"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_settings_file_that_cannot_be_right_is_exit_2(name: str, cli: Cli, home: Path, one_record: str) -> None:
    toml, words = BROKEN[name]
    (home / "config/llmbatch").mkdir(parents=True)
    (home / "config/llmbatch/config.toml").write_text(toml)
    profile = ("--profile", "p") if "[profile.p]" in toml else ()
    code, said = cli("run", one_record, "-m", "m", "--dry-run", *profile)
    assert code == 2 and words in said


KEYS = ["sk-line\nbreak", "sk-return\rhere", "sk-naïve", "sk-\x00nul", "sk-\x1b[31mred", "sk-key\n"]


WAYS = ("variable", "--key-env", "--key-file")
CANNOT_BE = {("variable", "sk-\x00nul"), ("--key-env", "sk-\x00nul"), ("--key-file", "sk-key\n")}
"""No variable holds a NUL, and the end of a file's line is no part of the key."""


@pytest.mark.parametrize(
    ("way", "key"), [(way, key) for way in WAYS for key in KEYS if (way, key) not in CANNOT_BE], ids=repr
)
def test_a_key_no_header_can_carry_is_refused_without_being_shown(
    key: str, way: str, cli: Cli, home: Path, one_record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: tuple[str, ...] = ()
    if way == "--key-file":
        (home / "key").write_text(key)
        flags = ("--key-file", "key")
    else:
        monkeypatch.setenv("OPENAI_API_KEY" if way == "variable" else "MINE", key)
        flags = ("--key-env", "MINE") if way == "--key-env" else ()
    code, said = cli("run", one_record, "-m", "m", *flags)
    assert code == 2 and "sk-" not in said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("option", ["--key-file", "--schema", "--template", "--system", "--redo"])
def test_files_of_options_in_utf_16_or_32_are_refused_by_name(
    option: str, encoding: str, cli: Cli, home: Path, one_record: str
) -> None:
    (home / "file").write_bytes('{"type": "object"}\r\n'.encode(encoding))
    at = "@" if option in ("--template", "--system", "--redo") else ""
    code, said = cli("run", one_record, "-m", "m", "--base-url", "http://localhost:1/v1", option, f"{at}file")
    assert code == 2 and option in said and encoding.upper()[:6] in said


@pytest.mark.parametrize("option", ["--key-file", "--schema", "--template", "--redo"])
def test_files_of_options_may_begin_with_a_byte_order_mark(
    option: str, cli: Cli, home: Path, one_record: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_bytes(b'\xef\xbb\xbf{"type":"object"}\r\n')
    at = "@" if option in ("--template", "--redo") else ""
    code, said = cli("run", "nosuch.jsonl", "-m", "m", "--base-url", "http://localhost:1/v1", option, f"{at}file")
    redo = option == "--redo"  # an object without an id
    assert (code == 2 and "names no id" in said) if redo else (code == 3 and "nosuch.jsonl" in said)
