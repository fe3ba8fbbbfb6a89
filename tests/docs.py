"""Write what is generated into the documentation: tables of flags and providers, the map of modules. `make docs`."""

import ast
import re
from pathlib import Path

from llmbatch.options.table import ALL_FLAGS
from tests import matrix

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "llmbatch"
PAGES = PACKAGE / "help"
FLAGS, PROVIDERS, BENCHMARKS = PAGES / "flags.md", PAGES / "providers.md", PAGES / "benchmarks.md"
README = ROOT / "README.md"
INSIDE = PACKAGE / "README.md"
BEGIN, END = "<!-- map -->\n", "<!-- end of map -->"
HEAD = "| flag | default | |\n|---|---|---|\n"


def table() -> str:
    """Return a row for each option of `run`."""
    rows = []
    for option in ALL_FLAGS:
        values = f" {option.shown_values}" if option.shown_values else ""
        flags = ", ".join([f"`{option.flag}{values}`", *([f"`{option.short}`"] if option.short else [])])
        default = f"`{option.default}`" if option.default not in (None, False) else ""
        help = option.help.replace("\\[", "[")
        rows.append(f"| {_in_cell(flags)} | {default} | {_in_cell(help)} |\n")
    return HEAD + "".join(rows)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


def flags_page(page: str) -> str:
    """Return the page about flags with their table as it is now."""
    return _with_table(page, HEAD, table())


def providers_page(page: str) -> str:
    """Return the page about providers with their table as it is now."""
    return _with_table(page, matrix.HEAD, matrix.table())


def _with_table(page: str, head: str, fresh: str) -> str:
    before, found, rest = page.partition(head)
    assert found, f"there is no table with the head {head!r}"
    _, gap, after = rest.partition("\n\n")
    return before + fresh.rstrip("\n") + "\n" + gap[1:] + after


def with_speed(readme: str, benchmarks: str) -> str:
    """Return the README with the row of its comparison that was measured, as the page of benchmarks has it now."""
    rate = r"\| ([\d,]+) records/s "
    rows = re.findall(rf"^\| instant server, [^|]*\| ([^|]*) {rate}{rate}", benchmarks, re.MULTILINE)
    ours, aiohttp = next((ours, theirs) for against, theirs, ours in rows if re.match("aiohttp.*orjson", against))
    client = next(theirs for against, theirs, _ in rows if against.startswith("openai client"))
    row = f"| records/s, instant server | {ours} | {client} (openai client) to {aiohttp} (aiohttp) | not measured |"
    return re.sub(r"^\| records/s, instant server \|.*$", row, readme, flags=re.MULTILINE)


def first_line(module: Path) -> str:
    """Return what a module says of itself in one line."""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]


def map_of_modules() -> str:
    """Return a table for each package: what it holds, module by module."""
    packages = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
    tables = []
    for package in packages:
        modules = sorted(path for path in package.glob("*.py") if path.name != "__init__.py")
        rows = [f"| `{path.stem}` | {first_line(path).replace('|', chr(92) + '|')} |\n" for path in modules]
        tables.append(
            f"### {package.name}\n\n{first_line(package / '__init__.py')}\n\n| | |\n|---|---|\n{''.join(rows)}\n"
        )
    return "".join(tables)


def mapped(readme: str) -> str:
    """Return the package's README with the map as it is now."""
    before, _, rest = readme.partition(BEGIN)
    return before + BEGIN + "\n" + map_of_modules() + END + rest.partition(END)[2]


if __name__ == "__main__":
    INSIDE.write_text(mapped(INSIDE.read_text()))
    FLAGS.write_text(flags_page(FLAGS.read_text()))
    PROVIDERS.write_text(providers_page(PROVIDERS.read_text()))
    README.write_text(with_speed(README.read_text(), BENCHMARKS.read_text()))
