"""The package's README names the packages, the modules and the layers that there are."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs import INSIDE, PACKAGE, ROOT, first_line, mapped

README = INSIDE.read_text()
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_the_map_is_that_of_the_tree() -> None:
    assert mapped(README) == README, "run: make docs"


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    drawn = README.partition("## What may import what")[2].partition("```text\n")[2].partition("```")[0]
    assert [re.split(r" {3,}", line)[0].strip() for line in drawn.splitlines()] == checked


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(module: Path) -> None:
    assert first_line(module)


def test_every_module_that_is_named_exists() -> None:
    dotted = "|".join(PACKAGES)
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", README))
    named |= {f"{name.replace('.', '/')}.py" for name in re.findall(rf"`((?:{dotted})\.[a-z_]+)`", README)}
    gone = [name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()]
    assert gone == []


def test_the_glossary_is_short() -> None:
    rows = README.partition("## Glossary")[2].partition("## ")[0].splitlines()
    assert len([row for row in rows if row.startswith("| ")]) - 1 <= 20
