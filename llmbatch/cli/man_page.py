"""The man page, in roff: made from the options' data, the verbs, and the help about exit codes and variables."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from llmbatch.cli.lazy_commands import VERBS, command
from llmbatch.core.version import __version__
from llmbatch.options.table import ALL_FLAGS
from llmbatch.ui.help_pages import first_lines, page

__all__ = ["man_page"]

_FILES = (
    ("FILE", "The results file of -o: one JSON line for each record, and the journal from which a run continues."),
    ("FILE.state/", "What FILE cannot hold: the lock, the options of each run, what was sent and has no answer yet."),
    ("$XDG_CONFIG_HOME/llmbatch/config.toml", "Settings; `llmbatch config init` writes one with everything in it."),
)


def man_page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    commands = {verb: command(verb) for verb in VERBS}
    yield f'.TH LLMBATCH 1 "" "llmbatch {__version__}" "User Commands"'
    yield from (".nh", ".ad l", ".SH NAME", r"llmbatch \- bulk prompts for any LLM HTTP API: JSONL in, JSONL out")
    yield ".SH SYNOPSIS"
    yield from _apart(rf"\fBllmbatch {verb}\fR {_inline(_arguments(found))}" for verb, found in commands.items())
    yield ".SH DESCRIPTION"
    yield from _apart(map(_inline, _paragraphs(commands["run"].help or "")[:1]))
    yield from (
        ".PP",
        _inline("Data goes to stdout, everything else to stderr. With `-o FILE` a run continues when the"),
    )
    yield _inline("same command is run again: nothing received is lost, and nothing recorded is paid for twice.")
    yield ".SH COMMANDS"
    for verb, found in commands.items():
        yield from _item(rf"\fB{verb}\fR", (_paragraphs(found.help or "") or [""])[0])
    yield ".SH OPTIONS OF RUN"
    for panel, options in groupby(ALL_FLAGS, key=lambda option: option.panel):
        yield f".SS {panel}"
        for option in options:
            default = option.default
            told = default in (None, False, "") or "Default:" in option.help
            yield from _item(
                _flag([option.short, option.flag], option.shown_values),
                option.help + ("" if told else f" Default: {default}."),
            )
    yield ".SH OPTIONS OF OTHER COMMANDS"
    for verb, found in commands.items():
        yield from _options_of(verb, found) if verb != "run" else ()
    for title, topic in (("EXIT STATUS", "exit-codes"), ("ENVIRONMENT", "environment")):
        yield f".SH {title}"
        for name, meaning in _table(topic):
            yield from _item(_inline(name), meaning)
    yield ".SH FILES"
    for name, meaning in _FILES:
        yield from _item(rf"\fI{_escaped(name)}\fR", meaning)
    yield ".SH EXAMPLES"
    yield ".nf"
    yield from (_escaped(line) for found in commands.values() for line in _examples(found.help or ""))
    yield ".fi"
    yield ".SH SEE ALSO"
    yield rf"\fBllmbatch help\fR \fITOPIC\fR explains more: {_inline(', '.join(first_lines()))}."
    yield ".PP"
    yield r"\fBjq\fR(1)"


def _options_of(verb: str, found: Any) -> Iterator[str]:
    for name, each in getattr(found, "commands", {"": found}).items():
        options = [one for one in each.params if one.param_type_name == "option" and "--help" not in one.opts]
        if options:
            yield f".SS {verb} {name}".rstrip()
        for option in options:
            values = "" if option.is_flag else option.metavar or option.name.upper()
            yield from _item(_flag([*sorted(option.opts, key=len)], values), option.help or "")


def _arguments(found: Any) -> str:
    """Return the arguments of a command, as a synopsis has them."""
    if hasattr(found, "commands"):
        return "|".join(found.commands)
    names = []
    for one in found.params:
        if one.param_type_name == "argument":
            name = one.metavar or one.name.upper()
            names.append(name if one.required else f"[{name}]" + ("..." if one.nargs == -1 else ""))
    return " ".join([*(["[OPTIONS]"] if len(found.params) > len(names) else []), *names])


def _paragraphs(text: str) -> list[str]:
    parts = (" ".join(part.split()) for part in text.strip().split("\n\n"))
    return [part for part in parts if part and not part.startswith(("llmbatch ", "jq "))]


def _examples(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(("llmbatch ", "jq "))]


def _table(topic: str) -> Iterator[tuple[str, str]]:
    """Yield the rows of the first table of a page."""
    for line in page(topic).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 2 and not cells[0].startswith("--") and cells[0] not in ("code", "variable"):
            yield cells[0], cells[1]


def _flag(names: Iterable[str], values: str) -> str:
    written = ", ".join(rf"\fB{_escaped(name)}\fR" for name in names if name)
    return rf"{written} \fI{_escaped(values)}\fR" if values else written


def _item(head: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield head
    yield _inline(text) or r"\&"


def _apart(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        yield part
        yield ".br"


def _inline(text: str) -> str:
    """Write Markdown within a line: code is bold, links are their text."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text.replace("\\[", "["))
    parts = re.split(r"`([^`]+)`", text)
    return "".join(rf"\fB{_escaped(part)}\fR" if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(text: str) -> str:
    """Write text that roff leaves as it is, in ASCII."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("**", "")
    text = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
