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


def _by_name(*rows: tuple[str, str]) -> dict[str, str]:
    """Return the answers by name; a row is the names of one idea, then the answer."""
    return {name: answer for names, answer in rows for name in names.split()}


_OPTIONS: dict[str, str] = _by_name(
    (
        "--api-key --apikey --key --token --auth --bearer --openai-api-key --anthropic-api-key --key-alias --secret",
        _KEY,
    ),
    (
        (
            "--workers --num-workers --max-workers --threads --jobs --parallel --parallelism --max-parallel "
            "--concurrent --max-requests -j -P -w --in-flight --max-in-flight --max-conns --max-connections "
            "--burst --max-procs --concurrency-limit --num-threads --pool-size"
        ),
        _IN_FLIGHT,
    ),
    ("--input --in --file --prompts --data -i -f --stdin --dataset --input-file --prompts-file", _INPUT),
    (
        (
            "--rate --rate-limit --rps --qps --throttle --delay --sleep --max-rate --limit-rate --rate-per-minute "
            "--requests-per-minute --tokens-per-minute --requests-per-second"
        ),
        _PACE,
    ),
    (
        "--out --outfile --output-file --output-path --save --results -O",
        "-o FILE writes the results; the same command again continues.",
    ),
    (
        "--proxy --http-proxy --https-proxy",
        "Proxies come from the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.",
    ),
    (
        "--url --api-base --api-url --host --server --endpoint-url --azure-endpoint --provider-url",
        "--base-url URL is the server.",
    ),
    ("--prompt --prompt-template --user", "-t 'TEXT {{ field }}' makes the prompt of each record."),
    ("--system-prompt --system-message --instructions", "--system TEXT|@FILE."),
    (
        (
            "--seed --top-p --top-k --stop --presence-penalty --frequency-penalty --reasoning-effort --dimensions "
            "--dims --encoding-format --voice --modalities --tool --functions"
        ),
        "--param NAME=VALUE sends a field with every request, as --param seed=1 or --param top_p=0.9.",
    ),
    (
        "--max-completion-tokens --max-output-tokens --max-length --max-new-tokens --max-tokens-to-sample",
        "--max-tokens N.",
    ),
    (
        "--resume --continue --restart --checkpoint --skip-existing",
        "A run with -o FILE continues by itself: run the same command again.",
    ),
    (
        "--force --clobber --yes -y --fresh --no-resume --start-over --from-scratch",
        "--overwrite starts the results file anew.",
    ),
    ("--max-retries --retry --attempts", "--retries N."),
    ("--silent --no-progress", "-q says nothing but errors."),
    ("--log-level --trace", "-v says a line for each failure, --debug shows what goes over the wire."),
    ("--budget --cost-limit --max-spend", "--max-cost USD."),
    ("--head --max-records --first", "--limit N sends the first N records only."),
    ("--num-samples --random-sample --subset", "--sample N takes N records, the same ones on any machine."),
    ("--epochs --trials --runs --times", "--repeat N sends each record N times."),
    ("--models --compare-models", "-m A -m B -o DIR/ runs several models side by side."),
    ("--token-command --api-key-command --auth-command", "--key-command 'CMD ARGS'."),
    ("--json-schema --response-format", "--schema FILE, or --json for any JSON."),
    ("--config --config-file", "`llmbatch config path` says where settings are read; --profile NAME."),
    ("--deployment", "-m NAME is the model or the deployment."),
    ("-H --headers --user-agent", "--header 'NAME: VALUE' sends one more header."),
    ("--max-time --request-timeout -T", "--timeout S bounds an attempt, --deadline DURATION the run."),
    (
        "--retry-delay --retry-max-time --backoff --retry-wait",
        "Waits between attempts follow what the server asks; --retries N, --max-wait S and --max-outage S bound them.",
    ),
    (
        "--num-retries --on-error --ignore-errors --fail --fail-fast --halt --stop-on-error --exit-on-error",
        "A failed record never stops the rest: --retries N, --max-failures N|P%, and --fail-on for the exit code.",
    ),
    ("--cacert --ca-bundle", "--ca-file PATH names certificates to trust."),
    (
        "--insecure --no-verify",
        "Certificates are always verified: --ca-file PATH trusts your own, --insecure-http allows a key over http.",
    ),
    ("--no-stream --async", "Leave it out: answers are whole unless --stream asks for pieces."),
    ("--attachment --attach -a --images --image-field", "--image FIELD sends an image along."),
    (
        "--option --logprobs --tools --n --reasoning --think --thinking --api-version",
        "--param NAME=VALUE sends a field with every request, as --param n=3 or --param logprobs=true.",
    ),
    ("--temp", "--temperature T."),
    (
        "--organization --organisation --org --project",
        "--header 'OpenAI-Organization: ID' and --header 'OpenAI-Project: ID' name them.",
    ),
    ("--model-name --engine-name --deployment-id --deployment-name", "-m NAME."),
    ("--region --location", "The region is in the address, or in a variable: llmbatch providers."),
    (
        "--cache --cache-dir",
        "Results files are the cache: --reuse FILE takes answers to equal requests, --dedupe sends equal ones once.",
    ),
    ("--no-cache", "Nothing is cached unless --reuse or --dedupe asks for it; --overwrite starts anew."),
    (
        "--column --text-column --prompt-column --prompt-field --field --text-field",
        "-t '{{ FIELD }}' makes a field or a column the prompt.",
    ),
    ("--id --id-column --key-field", "--id-field NAME."),
    ("--output-dir --outdir --out-dir", "-o DIR/ with the slash makes a folder of parts."),
    ("--jsonl --csv --text --tsv", "--input-format jsonl|csv|text says it; a name like X.csv, too."),
    (
        "--format --to",
        "--output-format shapes stdout, --input-format reads; -o X.csv writes a table, llmbatch convert any shape.",
    ),
    (
        "--dry --test --preview --estimate --simulate --count-tokens --explain --plan --what-if",
        "--dry-run shows the requests, their tokens and cost, and sends nothing; --limit 5 sends five.",
    ),
    ("--cost --max-budget --max-usd", "--max-cost USD is the ceiling; costs are in the summary."),
    ("--stop-after --time-limit --max-runtime --max-duration", "--deadline DURATION, as 2h."),
    ("--json-mode --strict-json --structured", "--json, or --schema FILE for a schema."),
    (
        "--shuffle --skip --offset --start --end --tail --range",
        "--limit N takes the first, --sample N some at random; else cut the input, as with tail -n +1001 FILE.",
    ),
    ("--prefix --suffix", "-t 'BEFORE {{ prompt }} AFTER' puts text around the prompt, --system before it."),
    ("--embed --embeddings", "--endpoint embeddings."),
    ("--env --env-file --dotenv", "set -a; . ./.env; set +a reads it into the shell; or --key-env, --key-file."),
    ("--provider-name --backend --service", "-p NAME; llmbatch providers lists them."),
    ("--keep-order --in-order --preserve-order --sort", "--ordered gives the input's order."),
    (
        (
            "--resume-failed --retry-failed --rerun --rerun-failed --redo-failed --only-failed --failed-only "
            "--errors-only --retry-errors"
        ),
        "The same command again sends what failed; --redo says what else.",
    ),
    ("--bar --eta --show-progress", "Progress and ETA are shown on a terminal; --progress plain is lines."),
    ("--joblog --log-file --log", "2> FILE keeps what is said, --log-format json has objects."),
    ("--batch", "-b N reads in batches."),
    ("-V --version", "llmbatch --version."),
    (
        "--filter --where --select --query",
        "Filter the input: jq -c 'select(...)' FILE | llmbatch run, or take the first with --limit N.",
    ),
    ("--columns --fields --no-meta", "--meta none|FIELD,... says which fields come back beside the answer."),
    ("--pretty --indent", "Results are one line each: jq . FILE shows them indented."),
    (
        "--gzip --compress",
        "Inputs may be compressed; results are plain lines, so that a run can be continued. gzip FILE comes after it.",
    ),
    ("--chunks --chunk-size --split", "-o DIR/ cuts a large input into parts of --part-size N records."),
    ("--no-color --no-colour --colour", "--color never; NO_COLOR does the same."),
    ("--list-models", "llmbatch providers NAME --check asks a provider for its models."),
    ("--list-providers", "llmbatch providers lists them."),
    ("--stats --report --html", "llmbatch report FILE sums results up, with --format html as a page."),
    ("--verify", "llmbatch verify INPUT -o FILE compares an input with its results."),
    (
        "--excel --xlsx",
        "-o X.csv writes a table; llmbatch convert FILE --to csv --excel one that Excel reads as UTF-8.",
    ),
    (
        "--cheap --async-batch --batch-mode",
        "--batch-api has the provider's batch API answer, usually at half the price.",
    ),
    ("--currency --usd --price-per-token --price-in", "--price IN,OUT is the price of a million tokens in US dollars."),
    (
        "--history --conversation --context",
        "A record may hold a whole conversation: a field messages instead of prompt.",
    ),
    ("--few-shot --examples --shots", "--system @FILE or -t @FILE holds examples for all records."),
    (
        "--tags --tag --metadata --label",
        "All other fields of a record come back in meta; --param metadata='{...}' sends some to the provider.",
    ),
    (
        "--notify --webhook --on-complete",
        "The exit code says how a run ended, for what follows it: llmbatch run ... && COMMAND.",
    ),
)

_RUN = "llmbatch run FILE -m MODEL -o results.jsonl"
_COMMANDS: dict[str, str] = _by_name(
    ("version", "llmbatch --version"),
    ("serve", "llmbatch mock"),
    ("init", "llmbatch config init"),
    ("man", "llmbatch help --man"),
    ("resume retry continue", "the same `llmbatch run` command again, which continues"),
    ("batch send start ask chat prompt complete completions", _RUN),
    ("embed embeddings", "llmbatch run FILE --endpoint embeddings -m MODEL"),
    ("export csv parquet merge cat", "llmbatch convert FILE... --to csv"),
    ("stats status summary cost logs log errors", "llmbatch report FILE"),
    ("eval evaluate score", "llmbatch report FILE --expect text=meta.gold"),
    ("diff compare", "llmbatch report --compare FILE FILE"),
    ("check validate", "llmbatch verify INPUT -o FILE"),
    ("estimate count price dry-run test lint explain plan preview", "llmbatch run FILE -m MODEL --dry-run"),
    ("models doctor auth login keys ping", "llmbatch providers --check"),
    ("list ls cancel download upload", "llmbatch batches FILE (--check, --cancel)"),
    ("settings show", "llmbatch config show"),
    ("completion completions-install", "llmbatch --install-completion"),
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
