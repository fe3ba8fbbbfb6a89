"""One option of a run, as data from which flag, variable, key and help are derived."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llmbatch.core.errors import UsageError
from llmbatch.core.settings import Settings

__all__ = ["Kind", "Option", "spelled"]


def _unchanged(name: str, value: Any) -> Any:
    return value


def _plain(setting: Any) -> Any:
    return setting if isinstance(setting, str | int | float) else None


@dataclass(frozen=True, slots=True)
class Kind:
    """What the values of an option look like, and how one is read.

    `type` is what the text of a flag becomes first, `read` makes the setting out of that or of a value from Python; it
    gets the option's name as the user writes it, and raises UsageError. `show` is the way back, for defaults.
    """

    type: Any
    metavar: str = ""
    read: Callable[[str, Any], Any] = _unchanged
    show: Callable[[Any], Any] = _plain
    choices: tuple[str, ...] = ()
    """Words that can be completed; others may be allowed, too."""
    names_file: Literal["never", "always", "after @"] = "never"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of `run`. `name` has underscores where the flag has hyphens."""

    panel: str
    """Where `--help` shows it; in lower case the group of settings that it belongs to."""
    name: str
    kind: Kind
    help: str
    metavar: str = ""
    """In place of the one of the kind."""
    short: str = ""
    python: str | None = ""
    """The name in Python if it is another one; None for what only a command needs."""
    setting: str | None = ""
    """Group and field in Settings if the field has another name; None if the value is merged into that of another."""
    since: str = "0.1.0"

    @property
    def flag(self) -> str:
        """The flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "LLMBATCH_" + self.name.upper()

    @property
    def key(self) -> str:
        """The key in the settings file."""
        return self.name.replace("_", "-")

    @property
    def argument(self) -> str | None:
        """The argument of the Python functions; None if there is none."""
        return None if self.python is None else self.python or self.name

    @property
    def place(self) -> tuple[str, str] | None:
        """The group and the field in Settings, without group for a field of Settings itself. None if it has none."""
        if self.setting is None:
            return None
        group, _, field = (self.setting or f"{self.panel.lower()}.{self.python or self.name}").rpartition(".")
        return group, field

    @property
    def default(self) -> Any:
        """The default as one would write it for a flag; None if there is nothing to write. It stands in Settings."""
        if self.place is None:
            return False if self.kind.type is bool else None
        group, field = self.place
        settings = Settings()
        return self.kind.show(getattr(getattr(settings, group) if group else settings, field))

    @property
    def shown_values(self) -> str:
        """What help shows in place of the value."""
        return self.metavar or self.kind.metavar

    @property
    def repeats(self) -> bool:
        """Whether it may be given several times."""
        return bool(self.kind.type == list[str])

    def is_file(self, text: str) -> bool:
        """Say whether a value is the name of a file."""
        return self.kind.names_file == "always" or (self.kind.names_file == "after @" and text.startswith("@"))

    def read(self, name: str, value: Any) -> Any:
        """Return the setting that a value means; `name` is the option as the user writes it. Raises UsageError."""
        from llmbatch.codec.json import is_unicode  # not needed for --help

        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not self.is_file(text) and not is_unicode(text):
                raise UsageError(
                    f"{name} is not UTF-8 text: {text!a}",
                    "Set the terminal to UTF-8, or put the text into a file in UTF-8.",
                )
        return self.kind.read(name, value)


def spelled(name: str, value: Any) -> str:
    """Write an option with its value as the user did, on the command line or in Python."""
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    return f"{name} {shown}" if name.startswith("-") else f"{name}={shown}"
