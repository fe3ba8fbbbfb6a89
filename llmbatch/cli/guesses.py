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
    | dict.fromkeys(("--deployment",), "-m NAME is the model or the deployment.")
    | dict.fromkeys(("-H", "--headers", "--user-agent"), "--header 'NAME: VALUE' sends one more header.")
    | dict.fromkeys(
        ("--max-time", "--request-timeout", "-T"), "--timeout S bounds an attempt, --deadline DURATION the run."
    )
    | dict.fromkeys(
        ("--retry-delay", "--retry-max-time", "--backoff", "--retry-wait"),
        "Waits between attempts follow what the server asks; --retries N, --max-wait S and --max-outage S bound them.",
    )
    | dict.fromkeys(
        ("--num-retries", "--on-error", "--ignore-errors", "--fail", "--fail-fast", "--halt"),
        "A failed record never stops the rest: --retries N, --max-failures N|P%, and --fail-on for the exit code.",
    )
    | dict.fromkeys(("--cacert", "--ca-bundle"), "--ca-file PATH names certificates to trust.")
    | dict.fromkeys(
        ("--insecure", "--no-verify"),
        "Certificates are always verified: --ca-file PATH trusts your own, --insecure-http allows a key over http.",
    )
    | dict.fromkeys(("--no-stream", "--async"), "Leave it out: answers are whole unless --stream asks for pieces.")
    | dict.fromkeys(
        ("--attachment", "--attach", "-a", "--images", "--image-field"), "--image FIELD sends an image along."
    )
    | dict.fromkeys(
        ("--option", "--logprobs", "--tools", "--n", "--reasoning", "--think", "--thinking", "--api-version"),
        "--param NAME=VALUE sends a field with every request, as --param n=3 or --param logprobs=true.",
    )
    | dict.fromkeys(("--temp",), "--temperature T.")
    | dict.fromkeys(("--max-new-tokens", "--max-tokens-to-sample"), "--max-tokens N.")
    | dict.fromkeys(
        ("--organization", "--organisation", "--org", "--project"),
        "--header 'OpenAI-Organization: ID' and --header 'OpenAI-Project: ID' name them.",
    )
    | dict.fromkeys(("--model-name", "--engine-name", "--deployment-id", "--deployment-name"), "-m NAME.")
    | dict.fromkeys(("--region", "--location"), "The region is in the address, or in a variable: llmbatch providers.")
    | dict.fromkeys(
        ("--cache", "--cache-dir"),
        "Results files are the cache: --reuse FILE takes answers to equal requests, --dedupe sends equal ones once.",
    )
    | dict.fromkeys(
        ("--no-cache",), "Nothing is cached unless --reuse or --dedupe asks for it; --overwrite starts anew."
    )
    | dict.fromkeys(("--dataset", "--input-file", "--prompts-file"), _INPUT)
    | dict.fromkeys(
        ("--column", "--text-column", "--prompt-column", "--prompt-field", "--field", "--text-field"),
        "-t '{{ FIELD }}' makes a field or a column the prompt.",
    )
    | dict.fromkeys(("--id", "--id-column", "--key-field"), "--id-field NAME.")
    | dict.fromkeys(("--output-dir", "--outdir", "--out-dir"), "-o DIR/ with the slash makes a folder of parts.")
    | dict.fromkeys(
        ("--jsonl", "--csv", "--text", "--tsv"), "--input-format jsonl|csv|text says it; a name like X.csv, too."
    )
    | dict.fromkeys(
        ("--format", "--to"),
        "--output-format shapes stdout, --input-format reads; -o X.csv writes a table, llmbatch convert any shape.",
    )
    | dict.fromkeys(
        (
            "--dry",
            "--test",
            "--preview",
            "--estimate",
            "--simulate",
            "--count-tokens",
            "--explain",
            "--plan",
            "--what-if",
        ),
        "--dry-run shows the requests, their tokens and cost, and sends nothing; --limit 5 sends five.",
    )
    | dict.fromkeys(("--cost", "--max-budget", "--max-usd"), "--max-cost USD is the ceiling; costs are in the summary.")
    | dict.fromkeys(("--stop-after", "--time-limit", "--max-runtime", "--max-duration"), "--deadline DURATION, as 2h.")
    | dict.fromkeys(("--json-mode", "--strict-json", "--structured"), "--json, or --schema FILE for a schema.")
    | dict.fromkeys(
        ("--shuffle", "--skip", "--offset", "--start", "--end", "--tail", "--range"),
        "--limit N takes the first, --sample N some at random; else cut the input, as with tail -n +1001 FILE.",
    )
    | dict.fromkeys(
        ("--prefix", "--suffix"), "-t 'BEFORE {{ prompt }} AFTER' puts text around the prompt, --system before it."
    )
    | dict.fromkeys(("--embed", "--embeddings"), "--endpoint embeddings.")
    | dict.fromkeys(
        ("--env", "--env-file", "--dotenv"),
        "set -a; . ./.env; set +a reads it into the shell; or --key-env, --key-file.",
    )
    | dict.fromkeys(("--provider-name", "--backend", "--service"), "-p NAME; llmbatch providers lists them.")
    | dict.fromkeys(("--openai-api-key", "--anthropic-api-key", "--key-alias", "--secret"), _KEY)
    | dict.fromkeys(("--max-procs", "--concurrency-limit", "--num-threads", "--pool-size"), _IN_FLIGHT)
    | dict.fromkeys(
        ("--rate-per-minute", "--requests-per-minute", "--tokens-per-minute", "--requests-per-second"), _PACE
    )
    | dict.fromkeys(("--keep-order", "--in-order", "--preserve-order", "--sort"), "--ordered gives the input's order.")
    | dict.fromkeys(
        ("--resume-failed", "--retry-failed"), "The same command again sends what failed; --redo says what else."
    )
    | dict.fromkeys(
        ("--bar", "--eta", "--show-progress"), "Progress and ETA are shown on a terminal; --progress plain is lines."
    )
    | dict.fromkeys(("--joblog", "--log-file", "--log"), "2> FILE keeps what is said, --log-format json has objects.")
    | {"--batch": "-b N reads in batches.", "-V": "llmbatch --version.", "--version": "llmbatch --version."}
)

_RUN = "llmbatch run FILE -m MODEL -o results.jsonl"
_COMMANDS = (
    {
        "version": "llmbatch --version",
        "serve": "llmbatch mock",
        "init": "llmbatch config init",
        "man": "llmbatch help --man",
    }
    | dict.fromkeys(("resume", "retry", "continue"), "the same `llmbatch run` command again, which continues")
    | dict.fromkeys(("batch", "send", "start", "ask", "chat", "prompt", "complete", "completions"), _RUN)
    | dict.fromkeys(("embed", "embeddings"), "llmbatch run FILE --endpoint embeddings -m MODEL")
    | dict.fromkeys(("export", "csv", "parquet", "merge", "cat"), "llmbatch convert FILE... --to csv")
    | dict.fromkeys(("stats", "status", "summary", "cost", "logs", "log", "errors"), "llmbatch report FILE")
    | dict.fromkeys(("eval", "evaluate", "score"), "llmbatch report FILE --expect text=meta.gold")
    | dict.fromkeys(("diff", "compare"), "llmbatch report --compare FILE FILE")
    | dict.fromkeys(("check", "validate"), "llmbatch verify INPUT -o FILE")
    | dict.fromkeys(
        ("estimate", "count", "price", "dry-run", "test", "lint", "explain", "plan", "preview"),
        "llmbatch run FILE -m MODEL --dry-run",
    )
    | dict.fromkeys(("models", "doctor", "auth", "login", "keys", "ping"), "llmbatch providers --check")
    | dict.fromkeys(("list", "ls", "cancel", "download", "upload"), "llmbatch batches FILE (--check, --cancel)")
    | dict.fromkeys(("settings", "show"), "llmbatch config show")
    | dict.fromkeys(("completion", "completions-install"), "llmbatch --install-completion")
)


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
