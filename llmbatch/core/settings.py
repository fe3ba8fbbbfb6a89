"""The settings of a run, frozen and complete: what was `auto` or missing among the options has its value here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from llmbatch.core.model_name import NamedModel

__all__ = [
    "APPEND_EXCLUDES",
    "BatchSettings",
    "InputSettings",
    "ModelSettings",
    "OutputSettings",
    "PaceSettings",
    "ParallelSettings",
    "PartSize",
    "PatienceSettings",
    "Redo",
    "ResumeSettings",
    "Settings",
    "StopSettings",
    "Tolerance",
    "ViewSettings",
]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures are too many: a count, or a share of the records. None and None: any number is fine."""

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Tolerance":
        """Read `none`, `N` or `P%`. Raises ValueError."""
        if text == "none":
            return cls()
        if text.endswith("%"):
            if not 0 <= float(text[:-1]) <= 100:
                raise ValueError("a share is between 0% and 100%")
            from decimal import Decimal

            return cls(share=float(Decimal(text[:-1]) / 100))
        count = int(text)
        if count < 0:
            raise ValueError("a count is not negative")
        return cls(count=count)

    def __str__(self) -> str:
        """Return the text that `parse` would read as this."""
        if self.share is not None:
            return f"{100 * self.share:g}%"
        return "none" if self.count is None else str(self.count)

    def exceeded(self, failed: int, total: int) -> bool:
        """Say whether `failed` records of `total` are too many."""
        if self.count is not None:
            return failed > self.count
        # A quotient is rounded as the share itself was, a product is not: 29 of 100 are not more than 29%.
        return self.share is not None and total > 0 and failed / total > self.share


class InputSettings(NamedTuple):
    """Where records come from and what they mean. `meta` is `all`, `none` or a list of fields."""

    paths: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    """The inputs as they were named: folders and patterns, of which `paths` has the files."""
    format: str | None = None
    id_field: str | None = None
    meta: str | tuple[str, ...] = "all"
    meta_fields: frozenset[str] = frozenset()
    """Fields that are not sent, though they are named like parameters."""
    param_fields: frozenset[str] = frozenset()
    """Fields that are sent as parameters wherever they stand."""
    delimiter: str | None = None
    """Between the values of CSV and TSV; None for a comma or a tab."""
    limit: int | None = None
    max_line: int = 16 * 1024 * 1024
    strict: bool = False
    batch_size: int = 64
    images: tuple[str, ...] = ()
    """Fields that name images; paths lie below `root`, by default the working folder."""
    root: str | None = None
    repeat: int | None = None
    """How many times each record is sent; None for once, without a number of the sample."""
    sample: int | None = None
    """How many records are chosen by `sample_seed`."""
    sample_seed: int = 0
    shard: tuple[int, int] | None = None
    """(I, N): only the records whose identity falls to shard I of N, I from 1."""
    spans: tuple[tuple[int, int | None] | None, ...] = ()
    """What is read of each of `paths`, from where to where, in bytes or row groups; none, or None, for all of it."""
    part: str | None = None
    """Which part of which plan this is, in a run of parts."""


class ModelSettings(NamedTuple):
    """Which server and model to ask, and what to add to every request. The key itself is not here."""

    provider: str | None = None
    base_urls: tuple[str, ...] = ()
    """Servers of one kind: the records are spread over all."""
    endpoint: str | None = None
    """`chat` and its like, or a path below the base URL; None is the preset's."""
    model: str | None = None
    template: str | None = None
    system: str | None = None
    params: Mapping[str, Any] = MappingProxyType({})
    overrides: Mapping[str, Any] = MappingProxyType({})
    max_tokens: int | None = None
    tier: str | None = None
    """The service tier: `flex`, `priority` or `standard`."""
    stream: bool = False
    """Whether answers come in pieces; result lines and keys are the same."""
    cache_system: str | None = None
    """How long a system prompt is kept in the provider's cache, where that takes a mark: `5m` or `1h`."""
    json: bool = False
    """Whether answers have to be JSON; a `schema` asks for it too."""
    schema: Any = None
    json_retries: int = 0
    fail_on_finish: frozenset[str] = frozenset()
    headers: Mapping[str, str] = MappingProxyType({})
    auth_header: str | None = None
    key_env: str | None = None
    key_file: Path | None = None
    key_command: str | None = None
    """A command line, run without a shell, that prints the key."""
    insecure_http: bool = False
    ca_file: str | None = None
    price: tuple[float, float] | None = None
    """US dollars per million tokens in and out."""


class PaceSettings(NamedTuple):
    """How much is sent at once and in a minute."""

    concurrency: int | None = None
    """Requests in flight; None finds how many are allowed, up to `max_concurrency`."""
    max_concurrency: int = 256
    pack: int | None = None
    """Inputs in one request, None for as many as is usual at an endpoint."""
    rpm: float | None = None
    tpm: float | None = None
    share_limits: str | None = None
    """Where limits are shared: `auto` in the folder of a run of parts, a name on this machine, or HOST:PORT."""

    @property
    def most(self) -> int:
        """The most requests in flight."""
        return self.max_concurrency if self.concurrency is None else self.concurrency


class PatienceSettings(NamedTuple):
    """How long to wait, in seconds, and how often to try."""

    timeout: float = 600.0
    connect_timeout: float = 10.0
    retries: int = 5
    wait_ready: float = 0.0
    """How long a server that cannot be reached yet, or is loading, is waited for before the first answer."""
    max_wait: float = 600.0
    max_outage: float = 900.0


class BatchSettings(NamedTuple):
    """Whether a provider's batch API answers, and how. `leftovers` is who answers what a batch gave back."""

    batch_api: bool = False
    no_wait: bool = False
    leftovers: str = "batch"
    live_after: float = math.inf
    batch_window: float = 86400.0
    batch_records: int | None = None
    batch_tokens: int | None = None
    no_first_live: bool = False


class StopSettings(NamedTuple):
    """When to end early, and how many failures make a run a failure."""

    fail_on: Tolerance = Tolerance(count=0)
    max_failures: Tolerance = Tolerance()
    deadline: float = math.inf
    max_cost: float | None = None
    """US dollars, those of earlier runs on the same results file included."""
    max_run_cost: float | None = None
    """US dollars of this run alone."""
    grace: float = 25.0

    @property
    def has_ceiling(self) -> bool:
        """Whether costs may end the run."""
        return self.max_cost is not None or self.max_run_cost is not None

    def ceiling(self, before: float) -> tuple[float, str]:
        """Return what may be spent in all, and the flag that says so, after `before` was spent by earlier runs."""
        run = math.inf if self.max_run_cost is None else before + self.max_run_cost
        total = math.inf if self.max_cost is None else self.max_cost
        return (total, "--max-cost") if total <= run else (run, "--max-run-cost")


class PartSize(NamedTuple):
    """How large a part of a run is: about so many records, or so many bytes."""

    amount: int = 100_000
    unit: str = "records"


class OutputSettings(NamedTuple):
    """Where results go and in what shape."""

    path: Path | None = None
    table: Path | None = None
    """Where the results are written as a table, too, when the run ends."""
    folder: Path | None = None
    """Instead of `path`: the folder of a run of parts."""
    part_size: PartSize | None = None
    """How large the parts of a new plan are; None for the default, and for the size that a plan has."""
    overwrite: bool = False
    ordered: bool = False
    tee: bool = False
    format: str = "jsonl"
    raw: bool = False
    include: frozenset[str] = frozenset()
    error_file: Path | None = None
    """Where failures go that would pass by on stdout."""
    fsync: str = "batch"
    """When results are put on the disk: `always`, `never`, or once a `batch`."""
    rescue_dir: Path | None = None

    @property
    def place(self) -> Path | None:
        """The results file, or the folder of those of a run of parts; None for stdout."""
        return self.path or self.folder


class Redo(NamedTuple):
    """Which records that have a result are sent again, once the rest of their request is the same."""

    failures: str = "unbilled"
    """`unbilled`: failures that cost nothing; `none`; `all`: those with a paid answer too."""
    kinds: frozenset[str] = frozenset()
    """Instead of `failures`: failures of these kinds, paid or not."""
    ids: frozenset[str | int] | None = None
    """Instead of both: the records with these ids, whether failed or answered."""


APPEND_EXCLUDES = {
    "overwrite": "One adds to FILE, the other replaces it.",
    "prune": "It would take out the lines of all other inputs.",
    "ordered": "Lines of several inputs have no common order.",
}
"""Options that `append` does not go with, and why."""


class ParallelSettings(NamedTuple):
    """How the parts of a run are worked on at once."""

    processes: int | None = None
    """So many parts at once, each in a process of its own."""
    engine: str = "local"
    """`local`, or `ray` for a Ray cluster."""
    ray_address: str | None = None


class ResumeSettings(NamedTuple):
    """What to do with an output file that is there. `changed` is rerun, keep or None: stop."""

    redo: Redo = Redo()
    in_doubt: str = "retry"
    changed: str | None = None
    append: bool = False
    """Whether FILE grows by other inputs: lines without a record in this one are history, not orphans."""
    prune: bool = False
    move_broken: bool = False
    dedupe: bool = False
    reuse: tuple[str, ...] = ()


class ViewSettings(NamedTuple):
    """What is shown on stderr, and how."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    color: str = "auto"
    progress: str = "auto"
    log_format: str = "text"
    summary: str = "table"
    summary_file: Path | None = None
    metrics_file: Path | None = None

    @property
    def files(self) -> tuple[tuple[str, Path | None], ...]:
        """The files that are written, each after its option."""
        return ("--summary-file", self.summary_file), ("--metrics-file", self.metrics_file)


class Settings(NamedTuple):
    """One run."""

    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    pace: PaceSettings = PaceSettings()
    patience: PatienceSettings = PatienceSettings()
    stop: StopSettings = StopSettings()
    output: OutputSettings = OutputSettings()
    resume: ResumeSettings = ResumeSettings()
    batches: BatchSettings = BatchSettings()
    parallel: ParallelSettings = ParallelSettings()
    view: ViewSettings = ViewSettings()
    models: tuple[NamedModel, ...] = ()
    """Several models, each of which has a run of its own; `model.model` is not set then."""
    dry_run: bool = False
    read_files: tuple[tuple[str, Path], ...] = ()
    """Further files that the settings were read from, each with the option that names it: none is written over."""

    @property
    def files_read(self) -> tuple[tuple[str, str | Path], ...]:
        """The files, beside the inputs, that are read because an option names them, each after its option."""
        model = self.model
        texts = ("--template", model.template), ("--system", model.system)
        paths = ("--key-file", model.key_file), ("--ca-file", model.ca_file)
        return (
            *((option, text[1:]) for option, text in texts if text is not None and text.startswith("@")),
            *((option, path) for option, path in paths if path is not None),
            *self.read_files,
            *((f"--reuse {path}", path) for path in self.resume.reuse),
        )

    @property
    def included(self) -> frozenset[str]:
        """What lines show of `request`, `response` and `input`: those asked for, and those the output format needs."""
        forms = {self.input.format, self.output.format}
        needed = {"request", "response"} if "cookbook" in forms else {"response"} if "openai-batch" in forms else ()
        return self.output.include.union(needed)
