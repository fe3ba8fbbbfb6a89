"""Turns entries into records, with identity, prompt and meta, or says why one is invalid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmbatch.codec.digest import digest
from llmbatch.codec.json import canonical, loads
from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.fault import Fault, Kind
from llmbatch.core.job import Identity
from llmbatch.core.outcome import InvalidRecord
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.input import record_shapes
from llmbatch.input.entry import Entry
from llmbatch.input.images import Images
from llmbatch.input.occurrences import Occurrences, RecentOccurrences, Recounted
from llmbatch.input.template import Template, TemplateError

__all__ = ["Decoded", "Decoder", "IdFields", "Meta", "hash_of", "id_fields", "named"]

Meta = Literal["all", "none"] | frozenset[str]
"""Which fields come back with the result: all that have no meaning of their own, none, or those named."""

_MOST_REPEATS = 100

_MAY_BE_EMPTY = ("model", "params", "system", "messages")

_PLAIN = record_shapes.OWN - {"input"}

_COOKBOOK_META = ("metadata",)


@dataclass(slots=True)
class Decoded:
    """A record that can be sent. `fields` is the record as an object."""

    identity: Identity
    prompt: Prompt
    meta: dict[str, Any]
    fields: Any


class Decoder:
    """Decodes the records of a run, in order.

    `params` are the body parameters of the endpoint; beside `messages` or `input` they are sent, except
    `meta_fields`. `param_fields` are sent from records of every shape. With a `template` every other field is material
    for it and nothing else. `system` is for records that have none. `form` is the input format, where it says how
    records are to be understood, `images` the fields that name images.
    `notice` is called with one line about what people may not expect.
    """

    def __init__(
        self,
        *,
        params: frozenset[str],
        id_field: str | None,
        meta: Meta,
        meta_fields: frozenset[str],
        param_fields: frozenset[str] = frozenset(),
        template: Template | None,
        system: Template | None,
        form: str | None,
        images: Images | None = None,
        seen: Occurrences | RecentOccurrences | Recounted,
        notice: Callable[[str], None],
        repeat: int = 0,
    ) -> None:
        if both := meta_fields & param_fields:
            raise UsageError(f"{min(both)!r} is named by --meta-field and by --param-field", "Leave one of them out.")
        self._sendable = (params | param_fields) - meta_fields - record_shapes.OWN
        self._shaped = record_shapes.OWN | self._sendable
        self._param_fields = param_fields - record_shapes.OWN
        self._plain = _PLAIN | param_fields if param_fields else _PLAIN
        self._id_fields = id_fields(id_field)
        self._meta = meta
        self._template, self._system = template, system
        self._form = form
        self._images = images
        self._seen, self._repeats = seen, 0
        self._samples = repeat
        self._notice: Callable[[str], None] | None = notice
        if template is not None and not template.has_fields:
            notice("--template has no {{ field }} in it: every record asks the same")

    def decode(self, index: int, entry: Entry) -> Decoded | InvalidRecord:
        """Decode one record; `index` counts records from the beginning of the input, from 0.

        Raises UsageError when a template fails for the very first record, InputError after too many
        repeated ids.
        """
        if entry.error is not None:
            identity = self._identify(index, None, digest(b"raw", entry.digest))
            return _invalid(identity, Kind.INVALID_RECORD, entry.error, {}, None)
        fields = entry.value
        if isinstance(fields, str):
            fields = {"prompt": fields}
        record = digest(canonical(fields))
        if not isinstance(fields, dict):
            message = f"{entry.where}: a record is an object or a string"
            return _invalid(self._identify(index, None, record), Kind.INVALID_RECORD, message, {}, fields)
        flaw: RecordError | None = None
        try:
            id, looked_at = named(fields, self._id_fields)
        except RecordError as error:
            id, looked_at, flaw = None, (), error
        identity = self._identify(index, id, record)
        asked = fields if not entry.all_text or self._template is not None else _without_empty(fields)
        consumed = self._consumed(asked, looked_at)
        meta = self._meta_fields(fields, consumed, looked_at)
        if id is not None and identity.occurrence:
            return _invalid(identity, Kind.DUPLICATE_ID, self._repeated_id(entry.where, identity), meta, fields)
        try:
            if flaw is not None:
                raise flaw
            if entry.flaws is not None:
                self._check_flaws(asked, entry.flaws, consumed, looked_at)
            prompt = self._prompt(asked, consumed, looked_at, entry)
        except RecordError as error:
            message = f"{entry.where}: {error.message}"
            if index == 0 and isinstance(error, TemplateError):
                raise UsageError(message, error.hint) from error
            return _invalid(identity, Kind.INVALID_RECORD, message, meta, fields)
        return Decoded(identity, prompt, meta, fields)

    def _check_flaws(
        self, fields: dict[str, Any], flaws: Mapping[str, str], consumed: frozenset[str], looked_at: tuple[str, ...]
    ) -> None:
        """Raise RecordError for a field that is used and cannot be read."""
        images = self._images.fields if self._images is not None else ()
        for name, flaw in flaws.items():
            if name in consumed or name in looked_at or name in images:
                raise RecordError(f"column {name!r} {flaw}")

    def _identify(self, index: int, id: str | int | None, record: str) -> Identity:
        if not self._samples:
            return Identity(index, id, record, self._seen.add(hash_of(id, record)))
        # Each sample counts by itself how often its record was there.
        occurrence = self._seen.add(hash((hash_of(id, record), index % self._samples)))
        return Identity(index, id, record, occurrence, repeat=self._samples)

    def _repeated_id(self, where: str, identity: Identity) -> str:
        shown = repr(identity.id) if len(str(identity.id)) <= 100 else f"{str(identity.id)[:99]!r}…"
        self._repeats += 1
        if self._repeats > _MOST_REPEATS:
            raise InputError(
                f"{where}: more than {_MOST_REPEATS} records repeat an id, the last of them {shown}",
                hint="--id-field NAME takes another field as the id; --id-field none does without",
            )
        times = identity.occurrence
        return f"{where}: the id {shown} was there before" + (f", {times} times" if times > 1 else "")

    def _consumed(self, fields: dict[str, Any], looked_at: tuple[str, ...]) -> frozenset[str]:
        """Return the names of the fields that a record of this shape is asked with, if it has them."""
        if self._template is not None:
            return self._param_fields
        if self._form == "cookbook":
            return frozenset(fields).difference(looked_at, _COOKBOOK_META)
        if self._form == "openai-batch":
            return record_shapes.BATCH_LINE
        if self._form == "anthropic-batch":
            return record_shapes.ANTHROPIC_LINE
        if fields.get("prompt") is not None:
            return self._plain
        if record_shapes.is_batch_line(fields):
            return record_shapes.BATCH_LINE
        if record_shapes.is_shaped(fields):
            return self._shaped
        if record_shapes.is_anthropic_line(fields):
            return record_shapes.ANTHROPIC_LINE
        return record_shapes.BODY_LINE if record_shapes.is_body_line(fields) else self._plain

    def _prompt(
        self, fields: dict[str, Any], consumed: frozenset[str], looked_at: tuple[str, ...], entry: Entry
    ) -> Prompt:
        if consumed is self._plain:
            prompt = record_shapes.plain(fields)
            if self._notice is not None and not self._sendable.isdisjoint(fields):
                self._notice_unsent(fields, looked_at, entry.where)
        elif self._template is not None:
            prompt = Prompt(text=self._template.render(fields, entry.flaws))
            if not prompt.text:
                raise RecordError("--template gives an empty prompt")
        elif consumed is record_shapes.BATCH_LINE:
            return record_shapes.batch_line(fields)
        elif consumed is record_shapes.BODY_LINE:
            return record_shapes.body_line(fields)
        elif consumed is record_shapes.ANTHROPIC_LINE:
            prompt = record_shapes.anthropic_line(fields)
        elif self._form == "cookbook":
            return record_shapes.cookbook_line(fields, consumed)
        else:
            moved = [name for name in fields if name in self._sendable and name not in looked_at]
            prompt = record_shapes.shaped(fields, moved)
            if moved and self._notice is not None:
                what = f"sent as parameters: {', '.join(moved)} ({entry.where})"
                self._notice(f"{what}; --meta-field NAME keeps one as meta")
                self._notice = None
        if self._param_fields and consumed is not self._shaped:
            named = self._param_fields.difference(looked_at)
            sent = {name: _as_param(fields[name], entry) for name in fields if name in named}
            prompt.params = {name: value for name, value in sent.items() if value != ""} | prompt.params
        if prompt.system is None and self._system is not None:
            prompt.system = self._system.render(fields, entry.flaws)
        if self._images is not None:
            self._images.add(prompt, fields)
        prompt.system = prompt.system or None  # an empty one means that this record has none
        return prompt

    def _notice_unsent(self, fields: dict[str, Any], looked_at: tuple[str, ...], where: str) -> None:
        """Say once which fields beside a prompt are named like parameters, and are not sent."""
        unsent = [name for name in fields if name in self._sendable - self._param_fields and name not in looked_at]
        if unsent and self._notice is not None:
            what = f"named like parameters, but not sent: {', '.join(unsent)} ({where})"
            self._notice(f"{what}; --param-field NAME sends one, --meta-field NAME says that it is meta")
            self._notice = None

    def _meta_fields(
        self, fields: dict[str, Any], consumed: frozenset[str], looked_at: tuple[str, ...]
    ) -> dict[str, Any]:
        if self._meta == "none":
            return {}
        if self._meta == "all":
            return {name: fields[name] for name in fields if name not in consumed and name not in looked_at}
        return {name: value for name, value in fields.items() if name in self._meta}


def hash_of(id: str | int | None, record: str) -> int:
    """Return a hash of a record as its occurrences are counted: of its id, or without one of its fields."""
    return hash(f"r{record}" if id is None else f"s{id}" if type(id) is str else f"i{id}")


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out the fields that an empty cell of a table leaves unset."""
    if all(fields.get(name) != "" for name in _MAY_BE_EMPTY):
        return fields
    return {name: value for name, value in fields.items() if value != "" or name not in _MAY_BE_EMPTY}


def _as_param(value: Any, entry: Entry) -> Any:
    """Return a field as a parameter; text of a table is JSON if it parses, as in --param."""
    if not entry.all_text:
        return value
    try:
        return loads(value.encode())
    except ValueError:
        return value


def _invalid(identity: Identity, kind: Kind, message: str, meta: dict[str, Any], fields: Any) -> InvalidRecord:
    return InvalidRecord(identity, Fault(kind=kind, message=message), meta, fields)


IdFields = tuple[tuple[str, tuple[str, ...]], ...]
"""The fields that may hold an id, in order; each with all that have been looked at when it is."""


def id_fields(option: str | None) -> IdFields:
    """Return the fields that may hold the id, as `--id-field` has it: by default `id`, then `custom_id`."""
    if option is None:
        return (("id", ("id",)), ("custom_id", ("id", "custom_id")))
    return () if option == "none" else ((option, (option,)),)


def named(fields: Mapping[str, Any], names: IdFields) -> tuple[str | int | None, tuple[str, ...]]:
    """Return a record's id and the fields looked at for it. Raises RecordError.

    Absent, null and "" are no id.
    """
    looked_at: tuple[str, ...] = ()
    for name, looked_at in names:
        value = fields.get(name)
        if value is None or value == "":
            continue
        if type(value) not in (int, str):  # not a boolean either, which is an integer to Python
            raise RecordError(f"{name} must be a string or an integer to be an id")
        return value, looked_at
    return None, looked_at
