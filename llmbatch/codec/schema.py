"""JSON Schemas; the only file that imports jsonschema_rs."""

from typing import Any

from llmbatch.codec.schema_cost import takes_few_steps

__all__ = ["NoValidator", "SchemaCheck", "compiled"]

_LONGEST = 300


class NoValidator(ImportError):
    """The library that validates schemas is not installed."""


def compiled(schema: Any) -> "SchemaCheck":
    """Return the check of a schema of any draft. Raises ValueError for an invalid one, with the reason.

    References work inside the schema only: nothing is fetched. Raises NoValidator without the extra.
    """
    try:
        import jsonschema_rs
    except ImportError as error:
        raise NoValidator from error
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_nowhere)
    except jsonschema_rs.ValidationError as error:
        at = "/".join(map(str, error.instance_path))
        raise ValueError(f"{f'{at}: ' if at else ''}{_short(error.message)}") from None
    except ValueError as error:
        raise ValueError(_short(str(error))) from None

    return SchemaCheck(schema, validator)


class SchemaCheck:
    """The check of one schema. Pickling sends the schema, which the other process compiles itself.

    `is_quick` says that its time grows only with the size of a value.
    """

    def __init__(self, schema: Any, validator: Any) -> None:
        self._schema, self._validator = schema, validator
        self.is_quick = takes_few_steps(schema)

    def __call__(self, value: Any) -> str | None:
        """Return what is wrong with a value, None when it is valid."""
        if self._validator.is_valid(value):  # much faster than to look for errors
            return None
        flaw = next(iter(self._validator.iter_errors(value)), None)
        if flaw is None:
            return None
        at = "/".join(map(str, flaw.instance_path))
        return f"{f'{at}: ' if at else ''}{_short(flaw.message)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return compiled, (self._schema,)


def _nowhere(uri: str) -> Any:
    raise LookupError(f"{uri} is outside the file")


def _short(message: str) -> str:
    first = message.strip().partition("\n")[0]
    return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}…"
