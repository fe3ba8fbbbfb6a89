"""Every option of `run`, once: name, kind, help. Its default stands in core.settings; to add one, add a line here."""

from functools import partial

from llmbatch.options.kinds import (
    CONCURRENCY,
    DELIMITER,
    DOLLARS,
    DURATION,
    DURATION_OR_0,
    FILE,
    FILE_NAME,
    FILE_NAMES,
    FILE_OR_STDOUT,
    FOLDER,
    FORMAT,
    INCLUDE,
    INTEGER,
    META,
    NAME_SET,
    NAMES,
    NUMBER,
    OUTPUT,
    PACK,
    PART_SIZE,
    RATE,
    REDO,
    SHARD,
    SWITCH,
    TEXT,
    TEXT_OR_FILE,
    TOLERANCE,
    VARIABLE,
    count,
    one_of,
)
from llmbatch.options.option import Option
from llmbatch.options.request_kinds import (
    ENDPOINT,
    HEADER_NAME,
    HEADERS,
    MODELS,
    PAIRS,
    PRICE,
    PROVIDER,
    REASONS,
    SCHEMA,
    SERVERS,
)

__all__ = ["ALL_FLAGS", "NO_CONFIG", "OPTIONS", "PROFILE"]

input = partial(Option, "Input")
model = partial(Option, "Model")
pace = partial(Option, "Pace")
patience = partial(Option, "Patience")
stop = partial(Option, "Stop")
output = partial(Option, "Output")
parallel = partial(Option, "Parallel")
resume = partial(Option, "Resume")
batches = partial(Option, "Batches")
view = partial(Option, "View", python=None)

OPTIONS: tuple[Option, ...] = (
    # Input
    input(
        "input_format",
        FORMAT,
        "jsonl, json, csv, tsv, text, openai-batch, anthropic-batch, cookbook or parquet. "
        "Default: by file name; stdin is jsonl.",
        metavar="FORMAT",
        setting="input.format",
    ),
    input(
        "delimiter",
        DELIMITER,
        "What stands between the values of CSV: one character, or tab. Default: a comma, in TSV a tab.",
    ),
    input("id_field", TEXT, "The field that is the id, or none. Default: id, then custom_id."),
    input("meta", META, "Which other fields come back: all, none, or a,b,c."),
    input("meta_field", NAME_SET, "Keep a field as meta that would be sent as a parameter.", python="meta_fields"),
    input("param_field", NAME_SET, "Send a field as a parameter, wherever it stands.", python="param_fields"),
    input(
        "image",
        NAMES,
        "A field that names an image or a PDF to send along, path or URL.",
        metavar="FIELD",
        python="images",
    ),
    input("root", FILE_NAME, "The folder that the paths of --image lie below. Default: this one.", metavar="DIR"),
    input("limit", count(0), "Only the first N records.", short="-n"),
    input("sample", count(1), "N records, chosen by --sample-seed, the same on any machine; reads all of the input."),
    input("sample_seed", INTEGER, "Chooses other records for --sample.", metavar="S"),
    input("repeat", count(1), "Send each record N times; the lines have a number, sample, from 0."),
    input(
        "shard",
        SHARD,
        "Only the records that fall to shard I of N, by their identity; one FILE each. With -o DIR/: every Nth part, "
        "from part I on; auto takes I and N from the array job that this is.",
    ),
    input("of", count(1), "With --shard auto: N, where the scheduler does not tell it.", python=None, setting=None),
    input("max_line", count(1), "Longest line or field, in bytes.", metavar="BYTES"),
    input("strict", SWITCH, "Check whole files first; send nothing if a record is bad.", python=None),
    input("batch_size", count(1), "At most N records are read and written together; never waits to fill.", short="-b"),
    # Model
    model(
        "provider",
        PROVIDER,
        "A preset: openai, anthropic, gemini, groq, ollama, mock, ... Default: openai.",
        short="-p",
    ),
    model(
        "model",
        MODELS,
        "The model, for records that name none, as MODEL or, without -p, PROVIDER:MODEL. "
        "Given more than once, with -o DIR/: a results file for each.",
        short="-m",
        setting=None,
    ),
    model(
        "base_url",
        SERVERS,
        "Any OpenAI-compatible server, up to and with /v1. Given more than once, records are spread over all.",
        setting="model.base_urls",
    ),
    model(
        "endpoint",
        ENDPOINT,
        "chat, responses, completions, embeddings, messages, gemini, or a path below the base URL. "
        "Default: what the provider is asked at as a rule, mostly chat.",
    ),
    model("template", TEXT_OR_FILE, "The prompt, a Jinja template of the record's fields: {{ field }}.", short="-t"),
    model("system", TEXT_OR_FILE, "The system prompt, for records that have none; a template too.", short="-s"),
    model("param", PAIRS, "A body field for records that lack it; JSON if it parses.", python="params"),
    model("override", PAIRS, "A body field that wins over the record's; null removes it.", python="overrides"),
    model("temperature", NUMBER, "The same as --param temperature=T.", metavar="T", setting=None),
    model("max_tokens", count(1), "Longest answer, under the name the provider knows."),
    model(
        "tier", one_of("flex", "priority", "standard"), "The provider's service tier: slower and cheaper, or faster."
    ),
    model(
        "stream",
        SWITCH,
        "Ask for answers in pieces, where a gateway cuts silent connections; the results are the same.",
    ),
    model(
        "cache_system",
        one_of("5m", "1h"),
        "Mark the system prompt for Anthropic's prompt cache, for so long (5m without a value); others cache unasked.",
    ),
    model("json", SWITCH, "Ask for JSON; an answer that is not JSON is a failure. It is parsed into the field json."),
    model("schema", SCHEMA, "Ask for JSON that fits this JSON schema; needs the extra schema."),
    model("json_retries", count(0), "Ask again, N times over all runs, for an answer that does not fit; each costs."),
    model("fail_on_finish", REASONS, "Answers that ended so are failures: length, content_filter, refusal, ..."),
    model("header", HEADERS, "One more request header.", python="headers"),
    model(
        "auth_header", HEADER_NAME, "The header that carries the key, like api-key. Default: what the provider wants."
    ),
    model("price", PRICE, "US dollars per million tokens, as 0.15,0.60. Default: what the extra 'prices' knows."),
    model("key_env", VARIABLE, "The environment variable that holds the key."),
    model("key_file", FILE, "A file that holds the key."),
    model(
        "key_command",
        TEXT,
        "A program that prints the key, run without a shell, and again when a key that worked is refused.",
        metavar="'CMD ARGS'",
    ),
    model("insecure_http", SWITCH, "Allow a key over plain http:// to another machine."),
    model("ca_file", FILE_NAME, "Certificates to trust, in PEM."),
    # Pace
    pace("concurrency", CONCURRENCY, "Requests in flight; auto finds how many the service allows.", short="-c"),
    pace("max_concurrency", count(1), "The most that -c auto may find."),
    pace("pack", PACK, "Inputs that share a request, at embeddings and completions; auto: 64 at embeddings, else 1."),
    pace("rpm", RATE, "Requests a minute. Default: what the provider announces."),
    pace("tpm", RATE, "Tokens a minute. Default: what the provider announces."),
    pace(
        "share_limits",
        TEXT,
        "Share --rpm, --tpm and pauses with other runs: auto with those on the same DIR/, NAME with those on this "
        "machine, HOST:PORT with the workers of `llmbatch limits`.",
        metavar="auto|NAME|HOST:PORT",
    ),
    # Patience
    patience("timeout", DURATION, "Longest attempt, as 90, 90s or 10m."),
    patience("connect_timeout", DURATION, "Longest wait for a connection."),
    patience("retries", count(0), "Extra attempts a record for faults that cost nothing."),
    patience(
        "wait_ready",
        DURATION_OR_0,
        "How long to wait, before the first answer, for a server that cannot be reached yet or is loading its model.",
        metavar="DURATION",
    ),
    patience("max_wait", DURATION_OR_0, "Longest wait a server may ask for."),
    patience("max_outage", DURATION_OR_0, "Longest time in which a service only refuses."),
    # Stop
    stop("fail_on", TOLERANCE, "More failed records than this make exit code 1.", python=None),
    stop("max_failures", TOLERANCE, "Stop when more records failed (P%: of those finished, once 100 have)."),
    stop(
        "max_cost", DOLLARS, "Stop before FILE, with what it cost before, costs more; needs --max-tokens and a price."
    ),
    stop("max_run_cost", DOLLARS, "The same for this run alone."),
    stop("deadline", DURATION, "Stop after this long, as 90s or 2h.", metavar="DURATION"),
    stop("grace", DURATION_OR_0, "How long requests in flight may finish after SIGTERM or the deadline."),
    # Output
    output(
        "output",
        OUTPUT,
        "The results file; with X.csv, .tsv or .parquet it is X.jsonl, and X.csv is written from it. "
        "With DIR/ a run of parts: a results file for each. Default: stdout.",
        short="-o",
        setting=None,
    ),
    output(
        "part_size",
        PART_SIZE,
        "With -o DIR/: about how many records a part has, as 100k, or bytes, as 64MB. Default: 100k.",
    ),
    output("overwrite", SWITCH, "Replace the results file."),
    output("ordered", SWITCH, "Results in the order of the input.", short="-k"),
    output(
        "output_format",
        one_of("jsonl", "openai-batch", "cookbook", "text"),
        "The shape of stdout.",
        python=None,
        setting="output.format",
    ),
    output("raw", SWITCH, "With text: the text itself, failures left out.", short="-r", python=None),
    output("error_file", FILE, "With openai-batch or cookbook: failures go to this file.", python=None),
    output("include", INCLUDE, "Add the request, the response or the input to each line."),
    output("tee", SWITCH, "With -o: results to stdout as well.", python=None),
    output(
        "fsync",
        one_of("batch", "always", "never"),
        "When results are put on the disk: every 200 ms or batch, always, never.",
    ),
    output("rescue_dir", FOLDER, "Where answers go when the results file cannot take them."),
    # Parallel
    parallel("processes", count(1), "With -o DIR/: so many parts at once. Default: one; with ray, half of its CPUs."),
    parallel("engine", one_of("local", "ray"), "With -o DIR/: where parts are worked on; ray is a Ray cluster."),
    parallel("ray_address", TEXT, "The cluster. Default: RAY_ADDRESS, or one on this machine.", metavar="ADDRESS"),
    # Resume
    resume(
        "redo",
        REDO,
        "What is sent again of the records that have a result: failures that cost nothing (the default), none, "
        "all failures (paid answers that were no use too), failures of some kinds, or the ids in a file, "
        "answered or not.",
    ),
    resume("keep_failed", SWITCH, "The same as --redo none.", setting=None),
    resume("retry_billed", SWITCH, "The same as --redo all.", setting=None),
    resume(
        "in_doubt",
        one_of("retry", "hold"),
        "Records that may have been billed without an answer: send again, or never. "
        "After a reboot and in a restarted container these are all that were planned.",
    ),
    resume(
        "changed",
        one_of("rerun", "keep"),
        "When options changed since the answers there are: send all again, or keep them.",
    ),
    resume("dedupe", SWITCH, "Send equal requests once; needs -o FILE."),
    resume("reuse", FILE_NAMES, "Take answers to equal requests from another results file."),
    resume("append", SWITCH, "FILE grows by another input each time; its other lines are history."),
    resume("prune", SWITCH, "Move lines whose record is gone to FILE.state/."),
    resume("move_broken", SWITCH, "Move broken lines to FILE.state/."),
    # Batches
    batches("batch_api", SWITCH, "Have the provider's batch API answer: cheaper, in hours; needs -o FILE."),
    batches("no_wait", SWITCH, "Submit or collect, then leave; exit 8 while something is with the provider."),
    batches("leftovers", one_of("batch", "live"), "What answers records that a batch gave back without an answer."),
    batches(
        "live_after",
        DURATION,
        "After this long cancel what still runs, collect it, and send the rest live.",
        metavar="DURATION",
    ),
    batches(
        "batch_window",
        DURATION,
        "How long a batch may take, where the provider lets one choose: 24h.",
        metavar="DURATION",
    ),
    batches("batch_records", count(1), "Most records of one batch. Default: the provider's limit."),
    batches("batch_tokens", count(1), "Most tokens queued for a model. Default: what the provider's refusals teach."),
    batches("no_first_live", SWITCH, "Do not send the first record of each model live, as a trial."),
    # View
    view("quiet", SWITCH, "Say nothing but errors.", short="-q"),
    view("verbose", SWITCH, "A line for each failure and retry.", short="-v"),
    view("debug", SWITCH, "Wire events, and tracebacks of bugs."),
    view("color", one_of("auto", "always", "never"), "Colours on stderr."),
    view("progress", one_of("auto", "plain", "none"), "Progress on stderr: auto draws it on a terminal of its own."),
    view("log_format", one_of("text", "json"), "What is told on stderr: lines of text, or JSON objects with the time."),
    view("summary", one_of("table", "json", "none"), "The summary on stderr."),
    view("summary_file", FILE_OR_STDOUT, "Write the summary as JSON; - is stdout."),
    view("metrics_file", FILE, "Write progress in Prometheus' text format while it runs."),
    view(
        "dry_run",
        SWITCH,
        "Write the requests as JSONL to stdout; send nothing, need no key.",
        setting="dry_run",
    ),
)

PROFILE = view("profile", TEXT, r"Settings from \[profile.NAME] of the settings file.", setting=None)
NO_CONFIG = view("no_config", SWITCH, "Read no settings file.", setting=None)
ALL_FLAGS = (*OPTIONS, NO_CONFIG, PROFILE)
"""The options, and two flags that say where their values come from."""
