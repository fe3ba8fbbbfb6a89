"""Suggests options and commands for those that people guess and that do not exist. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["about_command", "about_option"]

_KEY = (
    "Keys come from the environment, never from a flag: export OPENAI_API_KEY=…, --key-env NAME, --key-file FILE "
    "or --key-command 'CMD ARGS'."
)
_IN_FLIGHT = "-c N sets how many requests are in flight; without it the pace is found by itself."
_INPUT = "The input stands without a flag: llmbatch run FILE; without FILE it is stdin."
_PACE = "--rpm N and --tpm N set requests and tokens per minute."

_OPTIONS: dict[str, str] = (
    dict.fromkeys(("--api-key", "--apikey", "--key", "--token", "--auth", "--bearer"), _KEY)
    | dict.fromkeys(
        (
            "--workers",
            "--num-workers",
            "--max-workers",
            "--threads",
            "--jobs",
            "--parallel",
            "--parallelism",
            "--max-parallel",
            "--concurrent",
            "--max-requests",
            "-j",
            "-P",
            "-w",
        ),
        _IN_FLIGHT,
    )
    | dict.fromkeys(("--input", "--in", "--file", "--prompts", "--data", "-i", "-f"), _INPUT)
    | dict.fromkeys(("--rate", "--rate-limit", "--rps", "--qps", "--throttle", "--delay", "--sleep"), _PACE)
    | dict.fromkeys(
        ("--out", "--outfile", "--output-file", "--output-path", "--save", "--results", "-O"),
        "-o FILE writes the results; the same command again continues.",
    )
    | dict.fromkeys(
        ("--proxy", "--http-proxy", "--https-proxy"),
        "Proxies come from the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.",
    )
    | dict.fromkeys(
        ("--url", "--api-base", "--api-url", "--host", "--server", "--endpoint-url"), "--base-url URL is the server."
    )
    | dict.fromkeys(
        ("--prompt", "--prompt-template", "--user"), "-t 'TEXT {{ field }}' makes the prompt of each record."
    )
    | dict.fromkeys(("--system-prompt", "--instructions"), "--system TEXT|@FILE.")
    | dict.fromkeys(
        ("--seed", "--top-p", "--top-k", "--stop", "--presence-penalty", "--frequency-penalty", "--reasoning-effort"),
        "--param NAME=VALUE sends a field with every request, as --param seed=1 or --param top_p=0.9.",
    )
    | dict.fromkeys(("--max-completion-tokens", "--max-output-tokens", "--max-length"), "--max-tokens N.")
    | dict.fromkeys(
        ("--resume", "--continue", "--restart", "--checkpoint", "--skip-existing"),
        "A run with -o FILE continues by itself: run the same command again.",
    )
    | dict.fromkeys(("--force", "--clobber", "--yes", "-y"), "--overwrite starts the results file anew.")
    | dict.fromkeys(("--max-retries", "--retry", "--attempts"), "--retries N.")
    | dict.fromkeys(("--silent", "--no-progress"), "-q says nothing but errors.")
    | dict.fromkeys(
        ("--log-level", "--trace"), "-v says a line for each failure, --debug shows what goes over the wire."
    )
    | dict.fromkeys(("--budget", "--cost-limit", "--max-spend"), "--max-cost USD.")
    | dict.fromkeys(("--head", "--max-records", "--first"), "--limit N sends the first N records only.")
    | dict.fromkeys(
        ("--num-samples", "--random-sample", "--subset"), "--sample N takes N records, the same ones on any machine."
    )
    | dict.fromkeys(("--epochs", "--trials", "--runs", "--times"), "--repeat N sends each record N times.")
    | dict.fromkeys(("--models", "--compare-models"), "-m A -m B -o DIR/ runs several models side by side.")
    | dict.fromkeys(("--token-command", "--api-key-command", "--auth-command"), "--key-command 'CMD ARGS'.")
    | dict.fromkeys(("--json-schema", "--response-format"), "--schema FILE, or --json for any JSON.")
    | dict.fromkeys(
        ("--config", "--config-file"), "`llmbatch config path` says where settings are read; --profile NAME."
    )
    | dict.fromkeys(("--deployment"), "-m NAME is the model or the deployment.")
    | {"--batch": "-b N reads in batches.", "-V": "llmbatch --version.", "--version": "llmbatch --version."}
)

_COMMANDS = {
    "version": "llmbatch --version",
    "resume": "the same `llmbatch run` command continues",
    "continue": "the same `llmbatch run` command continues",
    "batch": "llmbatch run FILE -m MODEL -o results.jsonl",
    "send": "llmbatch run FILE -m MODEL -o results.jsonl",
    "export": "llmbatch convert FILE --to csv",
    "stats": "llmbatch report FILE",
    "summary": "llmbatch report FILE",
    "check": "llmbatch verify INPUT -o FILE",
    "serve": "llmbatch mock",
    "models": "llmbatch providers --check",
}


def about_option(name: str, options: Iterable[str]) -> str | None:
    """Say what an option that does not exist is called here, or which is the nearest; None when nothing is near."""
    known = [*options]
    if answer := _OPTIONS.get(name):
        return answer
    spelled = name.lower().replace("_", "-")
    if spelled in known:
        return f"It is written {spelled}."
    nearest = get_close_matches(spelled, known, n=1, cutoff=0.75)
    return f"Did you mean {nearest[0]}?" if nearest else _OPTIONS.get(spelled)


def about_command(name: str, verbs: Iterable[str], *, is_file: bool, of: str = "llmbatch") -> str:
    """Say what a command of `of` that does not exist is called here; where it is a file, how it is sent."""
    if is_file or name.endswith((".jsonl", ".csv", ".json", ".txt", ".gz")):
        return f"llmbatch run {name} -m MODEL sends it; llmbatch report {name} sums up results."
    if answer := _COMMANDS.get(name.lower()):
        return f"It is {answer}."
    nearest = get_close_matches(name.lower(), verbs, n=1, cutoff=0.6)
    return f"Did you mean {of} {nearest[0]}?" if nearest else f"Commands are: {', '.join(verbs)}."
