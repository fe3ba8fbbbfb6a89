"""Write the tables of flags and of providers into the README: `make docs`."""

import re
from pathlib import Path

from llmbatch.cli.lazy_commands import command
from tests import matrix

README = Path(__file__).parent.parent / "README.md"
HEAD = "| flag | default | |\n|---|---|---|\n"


def table() -> str:
    """Return a row for each option of `run`."""
    rows = []
    for parameter in command("run").params:
        if parameter.name == "inputs":
            continue
        names = sorted(parameter.opts, key=len, reverse=True)
        metavar = f" {parameter.metavar}" if parameter.metavar else ""
        flags = ", ".join([f"`{names[0]}{metavar}`", *(f"`{name}`" for name in names[1:])])
        default = f"`{parameter.default}`" if parameter.default not in (None, False, [], ()) else ""
        help = re.sub(r"\\(?=\[)", "", getattr(parameter, "help", ""))
        rows.append(f"| {flags.replace('|', chr(92) + '|')} | {default} | {help.replace('|', chr(92) + '|')} |\n")
    return HEAD + "".join(rows)


def written(readme: str) -> str:
    """Return a README with both tables as they are now."""
    for head, fresh in ((HEAD, table()), (matrix.HEAD, matrix.table())):
        begin = readme.index(head)
        end = readme.index("\n\n", begin)
        readme = readme[:begin] + fresh.rstrip("\n") + readme[end:]
    return readme


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
