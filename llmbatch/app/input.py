"""Opens the input of a run by its settings: source, decoder and dialect."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, cast

from llmbatch.app.first_records import FirstRecords, fields_named_by
from llmbatch.app.jobs import Earlier, JobReader, SkipDone
from llmbatch.app.survey import Survey
from llmbatch.codec.schema import NoValidator, SchemaCheck, compiled
from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.job import Job
from llmbatch.core.outcome import InvalidRecord
from llmbatch.core.ports import Dialect
from llmbatch.core.settings import InputSettings, ModelSettings
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.providers import Preset
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router
from llmbatch.dialects.service_tiers import tier_word
from llmbatch.dialects.structured_output import AnswerChecks, JsonRouter, response_format
from llmbatch.input.byte_stream import must_exist
from llmbatch.input.decode import Decoder, Meta
from llmbatch.input.entry import RecordSource
from llmbatch.input.images import Images
from llmbatch.input.occurrences import Occurrences, RecentOccurrences, Recounted
from llmbatch.input.sampling import Derived, derived
from llmbatch.input.source import Source, open_source
from llmbatch.input.template import Template
from llmbatch.input.unchanged import Contents

__all__ = ["InputReader", "check_inputs", "check_strict", "new_dialect", "new_reader"]

REMEMBERED = 1_000_000
"""So many identities are kept of an endless input without a results file, to find repeated ids."""


def check_inputs(paths: Sequence[str]) -> None:
    """Raise InputError for an input that does not exist."""
    for path in paths:
        must_exist(path)


class InputReader:
    """Opens the inputs, unless there is a `source`. `include` is what result lines show beside the answer.

    Unless the results are `durable`, an endless input may repeat ids long after they were seen last.
    Raises InputError for an input that cannot be read, UsageError for a template that cannot work.
    """

    def __init__(
        self,
        input: InputSettings,
        model: ModelSettings,
        notice: Callable[[str], None],
        source: RecordSource | None = None,
        *,
        include: frozenset[str] = frozenset(),
        durable: bool = True,
    ) -> None:
        self._input = input
        self._notice = notice
        self._include = include
        self._durable = durable
        self._template = Template.parse(model.template) if model.template is not None else None
        self._system = Template.parse(model.system, "--system") if model.system is not None else None
        self._images = Images(input.images, input.root) if input.images else None
        opened = source or open_source(
            input.paths,
            format=input.format,
            max_line=input.max_line,
            delimiter=input.delimiter,
            spans=input.spans,
        )
        self._source = derived(opened, sample=input.sample, seed=input.sample_seed, repeat=input.repeat)
        self._on_stdin = not input.paths or "-" in input.paths

    def check(self, dialect: Dialect) -> None:
        """Read all of the files first, for `--strict`. Raises InputError with the first problems."""
        input = self._input
        if self._on_stdin:
            raise UsageError("--strict cannot read stdin twice", "Put the input into a file.")
        problems = check_strict(
            input.paths,
            format=input.format,
            max_line=input.max_line,
            delimiter=input.delimiter,
            decoder=self._decoder(dialect.params, lambda text: None, repeat=0),
            limit=input.limit,
        )
        if problems:
            raise InputError("--strict: " + "; ".join(problems), "Nothing was sent.")

    def jobs(
        self,
        dialect: Dialect,
        skip_done: SkipDone | None = None,
        bound: Callable[[Job], float] | None = None,
        *,
        must_be_usable: bool = False,
        survey: Survey | None = None,
        seen: Occurrences | None = None,
        from_start: bool = True,
    ) -> JobReader:
        """Return the jobs of the input. With `must_be_usable` the first records may not all be invalid alike.

        Records that keep their lines after a `survey` are passed over. `seen` counts how often records were there
        before. Not `from_start`, the first records say nothing about the settings.
        """
        return JobReader(
            self._source,
            self._decoder(dialect.params, self._notice, seen if survey is None else Recounted(survey.repeats)),
            dialect,
            limit=None if self._input.limit is None else self._input.limit * (self._input.repeat or 1),
            include=self._include,
            skip_done=skip_done,
            shard=self._input.shard,
            bound=bound,
            first=FirstRecords(fields_named_by(self._input), must_be_usable=must_be_usable)
            if survey is None and from_start and self._input.part is None  # those of a part say nothing of the others
            else None,
            from_start=from_start and self._input.part is None,
            earlier=self._expected(survey) if survey is not None else None,
        )

    def record(self) -> Contents:
        """Take note of what is read, so that a second pass notices other contents."""
        return self._files.record()

    def _expected(self, survey: Survey) -> Earlier:
        self._files.expect(survey.contents)
        return Earlier(survey, self._files.skip)

    @property
    def _files(self) -> Source | Derived:
        assert isinstance(self._source, Source | Derived)  # a program's records are never gone through twice
        return self._source

    @property
    def fraction(self) -> float | None:
        """How much of the input has been read, None when that cannot be known."""
        return self._source.fraction

    def close(self) -> None:
        """Close the inputs."""
        self._source.close()

    def _decoder(
        self,
        params: frozenset[str],
        notice: Callable[[str], None],
        seen: Occurrences | Recounted | None = None,
        repeat: int | None = None,
    ) -> Decoder:
        input = self._input
        meta = input.meta if isinstance(input.meta, str) else frozenset(input.meta)
        return Decoder(
            params=params,
            id_field=input.id_field,
            meta=cast(Meta, meta),
            meta_fields=input.meta_fields,
            param_fields=input.param_fields,
            template=self._template,
            system=self._system,
            form=input.format,
            images=self._images,
            seen=self._occurrences() if seen is None else seen,
            notice=notice,
            repeat=(input.repeat or 0) if repeat is None else repeat,
        )

    def _occurrences(self) -> Occurrences | RecentOccurrences:
        endless = self._on_stdin and not self._durable
        return RecentOccurrences(limit=REMEMBERED) if endless else Occurrences()


def new_dialect(model: ModelSettings, preset: Preset, pack: int | None) -> Dialect:
    """Return the dialect of the endpoint; records that name another endpoint get the dialect of that one."""
    options = Options(
        model=model.model or preset.model,
        max_tokens=model.max_tokens,
        defaults=model.params,
        overrides=model.overrides,
        pack=pack,
        stream=model.stream,
        tier=tier_word(model.provider or (None if model.base_urls else "openai"), None, model.tier)
        if model.tier is not None
        else None,
        cache_system=model.cache_system,
    )
    endpoint = model.endpoint or preset.endpoint
    if model.json or model.schema is not None:
        return JsonRouter(options, preset, endpoint, response_format(model.schema))
    return Router(options, preset, endpoint)


def new_reader(model: ModelSettings) -> AnswerReader:
    """Return the reader of answers. Raises UsageError for an invalid schema."""
    wants_json = model.json or model.schema is not None
    if not wants_json and not model.fail_on_finish:
        return AnswerReader()
    return AnswerReader(
        AnswerChecks(
            finish=model.fail_on_finish,
            json=wants_json,
            check=_check(model.schema) if model.schema is not None else None,
            again=model.json_retries > 0,
        )
    )


def _check(schema: Any) -> SchemaCheck:
    try:
        return compiled(schema)
    except NoValidator:
        raise UsageError("--schema needs an extra", "pip install 'llmbatch[schema]'") from None
    except ValueError as error:
        raise UsageError(f"--schema: not a JSON schema: {error}", "Correct the schema; nothing was sent.") from None


_ENOUGH = 10

_BATCH = 256


def check_strict(
    paths: Sequence[str],
    *,
    format: str | None,
    max_line: int,
    decoder: Decoder,
    delimiter: str | None = None,
    limit: int | None = None,
) -> list[str]:
    """Return the first problems of the inputs, at most ten; `limit` ends the search after so many records.

    The decoder must not be used for anything else, since it remembers ids. Raises what opening, reading and decoding
    raise.
    """
    problems: list[str] = []
    index = 0
    with closing(open_source(paths, format=format, max_line=max_line, delimiter=delimiter)) as source:
        while entries := source.read(_BATCH):
            for entry in entries:
                if index == limit:
                    return problems
                decoded = decoder.decode(index, entry)
                index += 1
                if isinstance(decoded, InvalidRecord):
                    problems.append(decoded.fault.message)
                    if len(problems) == _ENOUGH:
                        return problems
    return problems
