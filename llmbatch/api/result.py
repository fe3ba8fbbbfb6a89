"""The types of a result: the fields of a result line."""

from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

__all__ = ["Failure", "Progress", "Result", "RunSummary", "Usage"]


class Failure(TypedDict):
    """Why a record has no answer. `kind` is a word of llmbatch, `status` and `code` come from the provider."""

    kind: str
    status: int | None
    code: str | None
    message: str


class Usage(TypedDict, total=False):
    """Token counts that the provider reports; totals include their parts."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Result(TypedDict):
    """The result of one record, with the same fields as a line of a results file."""

    id: str | int | None
    index: int
    status: Literal["ok", "failed"]
    attempts: int
    record: str
    key: str | None
    meta: dict[str, Any]
    occurrence: NotRequired[int]
    sample: NotRequired[int]
    text: NotRequired[str | None]
    finish_reason: NotRequired[str | None]
    provider_finish_reason: NotRequired[str]
    model: NotRequired[str | None]
    usage: NotRequired[Usage]
    cost_usd: NotRequired[float]
    error: NotRequired[Failure]
    billed: NotRequired[bool]
    possibly_billed: NotRequired[int]
    json: NotRequired[Any]
    embedding: NotRequired[Any]
    choices: NotRequired[list[dict[str, Any]]]
    tool_calls: NotRequired[list[dict[str, Any]]]
    refusal: NotRequired[str]
    reasoning: NotRequired[str]
    logprobs: NotRequired[Any]
    images: NotRequired[list[Any]]
    audio: NotRequired[dict[str, Any]]
    citations: NotRequired[list[Any]]
    packed: NotRequired[int]
    batch: NotRequired[str]
    deduplicated: NotRequired[bool]
    reused: NotRequired[bool]
    started_at: NotRequired[str]
    latency_s: NotRequired[float]
    request_id: NotRequired[str | None]
    response: NotRequired[Any]
    response_base64: NotRequired[str]
    request: NotRequired[Any]
    input: NotRequired[Any]


class RunSummary(TypedDict):
    """How a run ended, as `--summary json` has it. Counts are of records, money is in US dollars."""

    records: int
    ok: int
    failed: int
    failures: dict[str, int]
    failure_examples: dict[str, dict[str, Any]]
    done_before: int
    failed_before: int
    held: int
    pending: int
    collected: int
    dropped: int
    orphans: int
    not_started: int
    unwritten: int
    requests: int
    retries: int
    possibly_billed: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost_usd: float | None
    cache_saved_usd: float | None
    models: dict[str, dict[str, Any]]
    endpoints: list[dict[str, Any]]
    wall_s: float
    waited_s: float
    limited_by: dict[str, float]
    records_per_s: float
    latency_s: dict[str, float]
    stopped: str | None
    stopped_by: str | None
    exit_code: int
    parts: NotRequired[dict[str, int]]


class Progress(NamedTuple):
    """How far a run is: `finished` of `total` records, those of earlier runs too; None where that is not known."""

    finished: int
    total: int | None
    ok: int
    failed: int
    in_flight: int
    cost_usd: float | None
    eta_s: float | None
