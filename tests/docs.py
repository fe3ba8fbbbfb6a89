"""Write what is generated into the READMEs: the tables of flags and providers, and the map of modules. `make docs`."""

import ast
from pathlib import Path

from llmbatch.options.table import OPTIONS, PROFILE
from tests import matrix

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PACKAGE = ROOT / "llmbatch"
INSIDE = PACKAGE / "README.md"
BEGIN, END = "<!-- map -->\n", "<!-- end of map -->"
HEAD = "| flag | default | |\n|---|---|---|\n"


def table() -> str:
    """Return a row for each option of `run`."""
    rows = []
    for option in (*OPTIONS, PROFILE):
        values = f" {option.shown_values}" if option.shown_values else ""
        flags = ", ".join([f"`{option.flag}{values}`", *([f"`{option.short}`"] if option.short else [])])
        default = f"`{option.default}`" if option.default not in (None, False) else ""
        help = option.help.replace("\\[", "[")
        rows.append(f"| {_in_cell(flags)} | {default} | {_in_cell(help)} |\n")
    return HEAD + "".join(rows)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(readme: str) -> str:
    """Return a README with both tables as they are now."""
    for head, fresh in ((HEAD, table()), (matrix.HEAD, matrix.table())):
        begin = readme.index(head)
        end = readme.index("\n\n", begin)
        readme = readme[:begin] + fresh.rstrip("\n") + readme[end:]
    return readme


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
    README.write_text(written(README.read_text()))
