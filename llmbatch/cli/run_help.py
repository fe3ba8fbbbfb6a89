"""`llmbatch run --help` on one screen, and `--help-all`: made from the table of options, without rich."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from llmbatch.cli.help_text import COLUMN, aligned, heading, paragraphs, width
from llmbatch.options.option import Option
from llmbatch.options.table import ALL_FLAGS

__all__ = ["MAIN", "everything", "one_screen"]

MAIN = ("model", "provider", "base_url", "output", "template", "concurrency", "limit", "max_cost", "dry_run", "fail_on")
"""The ten options that matter to most people, in this order."""

_PAGES = {
    "Input": "records",
    "Model": "providers",
    "Pace": "pacing",
    "Patience": "failures",
    "Stop": "cost",
    "Output": "results",
    "Resume": "resume",
    "Batches": "batches",
}
"""The page of `llmbatch help` behind a group of options."""


def one_screen(doc: str) -> str:
    """Return what the verb does, by its docstring, the options that matter, and the names of the others by group."""
    options = {option.name: option for option in ALL_FLAGS}
    main = [options[name] for name in MAIN]
    lines = [*_head(doc), heading("Options that matter"), *_described(main, brief=True)]
    lines += ["", heading("All others") + ", by group (--help-all explains them)"]
    for panel, members in _groups(main):
        names = " ".join(option.flag for option in members)
        lines += textwrap.wrap(
            f"{panel:<9} {names}", width(), initial_indent="  ", subsequent_indent=" " * 12, break_on_hyphens=False
        )
    pages = ", ".join(dict.fromkeys(_PAGES.values()))
    lines += ["", *textwrap.wrap(f"llmbatch help TOPIC: {pages}, …", width())]
    return "\n".join(lines) + "\n"


def everything(doc: str) -> str:
    """Return what the verb does and every option with its help, group by group."""
    lines = [*_head(doc)]
    for panel, members in _groups(()):
        page = f" (llmbatch help {_PAGES[panel]})" if panel in _PAGES else ""
        lines += [heading(panel) + page, *_described(members), ""]
    lines.append("Each option is a variable as well, LLMBATCH_CONCURRENCY for --concurrency, and a key of the settings")
    lines.append("file, concurrency; llmbatch help environment.")
    return "\n".join(lines) + "\n"


def _head(doc: str) -> Iterator[str]:
    first, _, rest = doc.partition("\n\n")
    yield "Usage: llmbatch run [OPTIONS] [INPUT]..."
    yield ""
    yield from paragraphs(first)
    yield from paragraphs("INPUT: files, folders or quoted patterns of prompts; none or - is stdin.")
    yield ""
    yield from paragraphs(rest)
    yield ""


def _groups(left_out: Sequence[Option]) -> Iterator[tuple[str, list[Option]]]:
    panels = dict.fromkeys(option.panel for option in ALL_FLAGS)
    for panel in panels:
        members = [option for option in ALL_FLAGS if option.panel == panel and option not in left_out]
        if members:
            yield panel, members


def _described(options: Sequence[Option], *, brief: bool = False) -> Iterator[str]:
    """Yield the options with their help beside them, where it is to be `brief` its first sentence."""
    return aligned(((_names(option), _explained(option, brief=brief)) for option in options), COLUMN)


def _names(option: Option) -> str:
    return f"{f'{option.short}, ' if option.short else '    '}{option.flag} {option.shown_values}".rstrip()


def _explained(option: Option, *, brief: bool) -> str:
    default = option.default
    text = option.help.replace("\\[", "[").replace("{{ field }}", "{{\xa0field\xa0}}")
    if brief:
        first, *others = re.split(r"(?<=\.) (?=[A-Z])", text)
        text = " ".join([first, *(one for one in others if one.startswith("Default:"))])
    if default not in (None, False, "") and "Default:" not in text:
        text += f" Default: {default}."
    return text
