"""Defines each option of `run`: names, environment variable, panel and help."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "AuthHeader",
    "BaseUrl",
    "BatchSize",
    "CaFile",
    "Changed",
    "Color",
    "Concurrency",
    "ConnectTimeout",
    "Deadline",
    "Debug",
    "Dedupe",
    "Delimiter",
    "DryRun",
    "Endpoint",
    "ErrorFile",
    "FailOn",
    "FailOnFinish",
    "Fsync",
    "Grace",
    "Header",
    "IdField",
    "Image",
    "InDoubt",
    "Include",
    "InputFormat",
    "Inputs",
    "InsecureHttp",
    "Json",
    "JsonRetries",
    "KeepFailed",
    "KeyEnv",
    "KeyFile",
    "Limit",
    "MaxConcurrency",
    "MaxCost",
    "MaxFailures",
    "MaxLine",
    "MaxOutage",
    "MaxRunCost",
    "MaxTokens",
    "MaxWait",
    "Meta",
    "MetaField",
    "MetricsFile",
    "Model",
    "MoveBroken",
    "Ordered",
    "Output",
    "OutputFormat",
    "Override",
    "Overwrite",
    "Pack",
    "Param",
    "ParamField",
    "Price",
    "Provider",
    "Prune",
    "Quiet",
    "Raw",
    "Redo",
    "RescueDir",
    "Retries",
    "RetryBilled",
    "Reuse",
    "Root",
    "Rpm",
    "Schema",
    "Shard",
    "Stream",
    "Strict",
    "SummaryFile",
    "SummaryForm",
    "System",
    "Tee",
    "Temperature",
    "Template",
    "Timeout",
    "Tpm",
    "Verbose",
    "WaitReady",
]


def _option(panel: str, help: str, *names: str, metavar: str | None = None) -> Any:
    """Make an option; its environment variable is LLMBATCH_ and its long name."""
    long = next(name for name in names if name.startswith("--"))
    variable = "LLMBATCH_" + long.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*names, help=help, rich_help_panel=panel, envvar=variable, metavar=metavar)


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT", help="Files, folders or quoted patterns of prompts; none or - is stdin.", show_default=False
    ),
]

InputFormat = Annotated[
    str | None,
    _option(
        "Input",
        "jsonl, json, csv, tsv, text, openai-batch, anthropic-batch, cookbook or parquet. "
        "Default: by file name; stdin is jsonl.",
        "--input-format",
        metavar="FORMAT",
    ),
]
Delimiter = Annotated[
    str | None,
    _option(
        "Input",
        "What stands between the values of CSV: one character, or tab. Default: a comma, in TSV a tab.",
        "--delimiter",
        metavar="CHARACTER",
    ),
]
IdField = Annotated[
    str | None,
    _option(
        "Input",
        "The field that is the id, or none. Default: id, then custom_id.",
        "--id-field",
        metavar="NAME",
    ),
]
Meta = Annotated[
    str,
    _option("Input", "Which other fields come back: all, none, or a,b,c.", "--meta", metavar="all|none|FIELD,..."),
]
MetaField = Annotated[
    list[str] | None,
    _option("Input", "Keep a field as meta that would be sent as a parameter.", "--meta-field", metavar="NAME"),
]
ParamField = Annotated[
    list[str] | None,
    _option("Input", "Send a field as a parameter, wherever it stands.", "--param-field", metavar="NAME"),
]
Image = Annotated[
    list[str] | None,
    _option("Input", "A field that names an image or a PDF to send along, path or URL.", "--image", metavar="FIELD"),
]
Root = Annotated[
    str | None,
    _option("Input", "The folder that the paths of --image lie below. Default: this one.", "--root", metavar="DIR"),
]
Limit = Annotated[int | None, _option("Input", "Only the first N records.", "--limit", "-n", metavar="N")]
Shard = Annotated[
    str | None,
    _option(
        "Input",
        "Only the records that fall to shard I of N, by their identity; one FILE each.",
        "--shard",
        metavar="I/N",
    ),
]
MaxLine = Annotated[int, _option("Input", "Longest line or field, in bytes.", "--max-line", metavar="BYTES")]
Strict = Annotated[bool, _option("Input", "Check whole files first; send nothing if a record is bad.", "--strict")]
BatchSize = Annotated[
    int,
    _option(
        "Input",
        "At most N records are read and written together; never waits to fill.",
        "--batch-size",
        "-b",
        metavar="N",
    ),
]

Provider = Annotated[
    str | None,
    _option(
        "Model",
        "A preset: openai, anthropic, gemini, groq, ollama, mock, ... Default: openai.",
        "--provider",
        "-p",
        metavar="NAME",
    ),
]
Model = Annotated[
    str | None, _option("Model", "The model, for records that name none.", "--model", "-m", metavar="MODEL")
]
BaseUrl = Annotated[
    list[str] | None,
    _option(
        "Model",
        "Any OpenAI-compatible server, up to and with /v1. Given more than once, records are spread over all.",
        "--base-url",
        metavar="URL",
    ),
]
Endpoint = Annotated[
    str | None,
    _option(
        "Model",
        "chat, responses, completions, embeddings, messages, gemini, or a path below the base URL. "
        "Default: what the provider is asked at as a rule, mostly chat.",
        "--endpoint",
        metavar="NAME|/PATH",
    ),
]
Template = Annotated[
    str | None,
    _option(
        "Model",
        "The prompt as a Jinja template over the record's fields: {{ field }}.",
        "--template",
        "-t",
        metavar="TEXT|@FILE",
    ),
]
System = Annotated[
    str | None,
    _option(
        "Model",
        "The system prompt, for records that have none; a template too.",
        "--system",
        "-s",
        metavar="TEXT|@FILE",
    ),
]
Param = Annotated[
    list[str] | None,
    _option("Model", "A body field for records that lack it; JSON if it parses.", "--param", metavar="K=V"),
]
Override = Annotated[
    list[str] | None,
    _option("Model", "A body field that wins over the record's; null removes it.", "--override", metavar="K=V"),
]
Temperature = Annotated[
    float | None, _option("Model", "The same as --param temperature=T.", "--temperature", metavar="T")
]
MaxTokens = Annotated[
    int | None,
    _option("Model", "Longest answer, under the name the provider knows.", "--max-tokens", metavar="N"),
]
Stream = Annotated[
    bool,
    _option(
        "Model",
        "Ask for answers in pieces, where a gateway cuts silent connections; the results are the same.",
        "--stream",
    ),
]
Json = Annotated[
    bool, _option("Model", "Ask for JSON, and fail answers that are none; parsed into the field json.", "--json")
]
Schema = Annotated[
    Path | None,
    _option("Model", "Ask for JSON that fits this JSON schema; needs the extra schema.", "--schema", metavar="FILE"),
]
JsonRetries = Annotated[
    int,
    _option("Model", "Ask again, N times, for an answer that does not fit; each costs.", "--json-retries", metavar="N"),
]
FailOnFinish = Annotated[
    str | None,
    _option(
        "Model",
        "Answers that ended so are failures: length, content_filter, refusal, ...",
        "--fail-on-finish",
        metavar="REASON,...",
    ),
]
Header = Annotated[list[str] | None, _option("Model", "One more request header.", "--header", metavar="NAME:VALUE")]
AuthHeader = Annotated[
    str | None,
    _option(
        "Model",
        "The header that carries the key, like api-key. Default: what the provider wants.",
        "--auth-header",
        metavar="NAME",
    ),
]
Price = Annotated[
    str | None,
    _option(
        "Model",
        "US dollars per million tokens, as 0.15,0.60. Default: what the extra 'prices' knows.",
        "--price",
        metavar="IN,OUT",
    ),
]
KeyEnv = Annotated[
    str | None, _option("Model", "The environment variable that holds the key.", "--key-env", metavar="NAME")
]
KeyFile = Annotated[Path | None, _option("Model", "A file that holds the key.", "--key-file", metavar="PATH")]
InsecureHttp = Annotated[
    bool, _option("Model", "Allow a key over plain http:// to another machine.", "--insecure-http")
]
CaFile = Annotated[str | None, _option("Model", "Certificates to trust, in PEM.", "--ca-file", metavar="PATH")]

Concurrency = Annotated[
    str,
    _option(
        "Pace", "Requests in flight; auto finds how many the service allows.", "--concurrency", "-c", metavar="N|auto"
    ),
]
MaxConcurrency = Annotated[int, _option("Pace", "The most that -c auto may find.", "--max-concurrency", metavar="N")]
Pack = Annotated[
    str,
    _option(
        "Pace",
        "Inputs that share a request, at embeddings and completions; auto: 64 at embeddings, else 1.",
        "--pack",
        metavar="N|auto",
    ),
]
Rpm = Annotated[
    float | None, _option("Pace", "Requests a minute. Default: what the provider announces.", "--rpm", metavar="N")
]
Tpm = Annotated[
    float | None, _option("Pace", "Tokens a minute. Default: what the provider announces.", "--tpm", metavar="N")
]
Timeout = Annotated[str, _option("Patience", "Longest attempt, as 90, 90s or 10m.", "--timeout", metavar="S")]
ConnectTimeout = Annotated[str, _option("Patience", "Longest wait for a connection.", "--connect-timeout", metavar="S")]
Retries = Annotated[
    int,
    _option("Patience", "Extra attempts a record for faults that cost nothing.", "--retries", metavar="N"),
]
WaitReady = Annotated[
    str,
    _option(
        "Patience",
        "How long to wait, before the first answer, for a server that cannot be reached yet or is loading its model.",
        "--wait-ready",
        metavar="DURATION",
    ),
]
MaxWait = Annotated[str, _option("Patience", "Longest wait a server may ask for.", "--max-wait", metavar="S")]
MaxOutage = Annotated[
    str, _option("Patience", "Longest time in which a service only refuses.", "--max-outage", metavar="S")
]

FailOn = Annotated[
    str, _option("Stop", "More failed records than this make exit code 1.", "--fail-on", metavar="none|N|P%")
]
MaxFailures = Annotated[
    str,
    _option(
        "Stop",
        "Stop when more records failed (P%: of those finished, once 100 have).",
        "--max-failures",
        metavar="none|N|P%",
    ),
]
MaxCost = Annotated[
    float | None,
    _option(
        "Stop",
        "Stop before FILE, with what it cost before, costs more; needs --max-tokens and a price.",
        "--max-cost",
        metavar="USD",
    ),
]
MaxRunCost = Annotated[float | None, _option("Stop", "The same for this run alone.", "--max-run-cost", metavar="USD")]
Deadline = Annotated[
    str | None, _option("Stop", "Stop after this long, as 90s or 2h.", "--deadline", metavar="DURATION")
]
Grace = Annotated[
    str,
    _option(
        "Stop",
        "How long requests in flight may finish after SIGTERM or the deadline.",
        "--grace",
        metavar="S",
    ),
]

Output = Annotated[
    str | None,
    _option(
        "Output",
        "The results file; with X.csv, .tsv or .parquet it is X.jsonl, and X.csv is written from it. Default: stdout.",
        "--output",
        "-o",
        metavar="FILE",
    ),
]
Overwrite = Annotated[bool, _option("Output", "Replace the results file.", "--overwrite")]
Ordered = Annotated[bool, _option("Output", "Results in the order of the input.", "--ordered", "-k")]
OutputFormat = Annotated[
    str, _option("Output", "The shape of stdout.", "--output-format", metavar="jsonl|openai-batch|cookbook|text")
]
Raw = Annotated[bool, _option("Output", "With text: the text itself, failures left out.", "--raw", "-r")]
ErrorFile = Annotated[
    Path | None,
    _option("Output", "With openai-batch or cookbook: failures go to this file.", "--error-file", metavar="PATH"),
]
Include = Annotated[
    list[str] | None,
    _option(
        "Output",
        "Add the request, the response or the input to each line.",
        "--include",
        metavar="request|response|input",
    ),
]
Tee = Annotated[bool, _option("Output", "With -o: results to stdout as well.", "--tee")]
Fsync = Annotated[
    str,
    _option(
        "Output",
        "When results are put on the disk: every 200 ms or batch, always, never.",
        "--fsync",
        metavar="batch|always|never",
    ),
]
Redo = Annotated[
    str | None,
    _option(
        "Resume",
        "What is sent again of the records that have a result: failures that cost nothing (the default), none, "
        "all failures (paid answers that were no use too), failures of some kinds, or the ids in a file, "
        "answered or not.",
        "--redo",
        metavar="unbilled|none|all|KIND,...|@FILE",
    ),
]
KeepFailed = Annotated[bool, _option("Resume", "The same as --redo none.", "--keep-failed")]
RetryBilled = Annotated[bool, _option("Resume", "The same as --redo all.", "--retry-billed")]
InDoubt = Annotated[
    str,
    _option(
        "Resume",
        "Records that may have been billed without an answer: send again, or never. After a reboot and in a restarted "
        "container these are all that were planned.",
        "--in-doubt",
        metavar="retry|hold",
    ),
]
Changed = Annotated[
    str | None,
    _option(
        "Resume",
        "When options changed since the answers there are: send all again, or keep them.",
        "--changed",
        metavar="rerun|keep",
    ),
]
Dedupe = Annotated[bool, _option("Resume", "Send equal requests once; needs -o FILE.", "--dedupe")]
Reuse = Annotated[
    list[str] | None,
    _option("Resume", "Take answers to equal requests from another results file.", "--reuse", metavar="FILE"),
]
Append = Annotated[
    bool, _option("Resume", "FILE grows by another input each time; its other lines are history.", "--append")
]
Prune = Annotated[bool, _option("Resume", "Move lines whose record is gone to FILE.state/.", "--prune")]
MoveBroken = Annotated[bool, _option("Resume", "Move broken lines to FILE.state/.", "--move-broken")]
RescueDir = Annotated[
    Path | None,
    _option("Output", "Where answers go when the results file cannot take them.", "--rescue-dir", metavar="DIR"),
]

Quiet = Annotated[bool, _option("View", "Say nothing but errors.", "--quiet", "-q")]
Verbose = Annotated[bool, _option("View", "A line for each failure and retry.", "--verbose", "-v")]
Debug = Annotated[bool, _option("View", "Wire events, and tracebacks of bugs.", "--debug")]
Color = Annotated[str, _option("View", "Colours on stderr.", "--color", metavar="auto|always|never")]
SummaryForm = Annotated[str, _option("View", "The summary on stderr.", "--summary", metavar="table|json|none")]
SummaryFile = Annotated[Path | None, _option("View", "Write the summary as JSON.", "--summary-file", metavar="PATH")]
MetricsFile = Annotated[
    Path | None,
    _option("View", "Write progress in Prometheus' text format while it runs.", "--metrics-file", metavar="PATH"),
]
DryRun = Annotated[
    bool, _option("View", "Write the requests as JSONL to stdout; send nothing, need no key.", "--dry-run")
]
