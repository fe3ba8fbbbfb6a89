"""`llmbatch help`: the pages about records, results, resuming and the like, which the package carries."""

from typing import Annotated

import typer

from llmbatch.cli.completion import pages
from llmbatch.cli.lazy_commands import VERBS, command
from llmbatch.core.errors import UsageError

__all__ = ["help"]


def help(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC", help="One of the pages, or a command; none lists the pages.", autocompletion=pages
        ),
    ] = None,
    man: Annotated[bool, typer.Option("--man", help="Print the man page, in roff.")] = False,
) -> None:
    """Show a page of the manual: rendered on a terminal, Markdown in a pipe.

    llmbatch help
    llmbatch help resume
    llmbatch help flags | grep -i retry
    llmbatch help --man | man -l -
    """
    if man:
        from llmbatch.cli.man_page import man_page
        from llmbatch.ui.streams import stdout_sink

        stdout_sink()(man_page().encode())
        return
    from difflib import get_close_matches

    from llmbatch.ui.help_pages import first_lines, page, show

    pages = first_lines()
    if topic is None:
        width = max(map(len, pages))
        lines = [f"  {name:<{width}}  {line}" for name, line in pages.items()]
        show("\n".join(["Pages of `llmbatch help TOPIC`:", "", "```", *lines, "```"]), plain="\n".join(lines))
        return
    name = topic.lower().removesuffix(".md").replace("_", "-")
    if name in VERBS and name not in pages:
        verb = command(name)
        print(verb.get_help(verb.make_context(f"llmbatch {name}", [], resilient_parsing=True)))
        return
    if name not in pages:
        nearest = get_close_matches(name, pages, n=1) or [known for known in pages if known.startswith(name[:4])]
        hint = f"Did you mean llmbatch help {nearest[0]}? " if nearest else ""
        raise UsageError(f"there is no page {topic!r}", f"{hint}Pages are: {', '.join(pages)}.")
    show(page(name))
