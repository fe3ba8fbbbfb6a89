"""Commands are imported late, without a visible difference."""

import pytest

from llmbatch.cli import main
from llmbatch.cli.lazy_commands import VERBS

from .conftest import Cli


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_listed_and_explains_itself(
    verb: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["llmbatch", "--help"])
    assert main.run_to_code() == 0
    assert any(line.split()[:1] == [verb] for line in capfd.readouterr().out.splitlines())
    monkeypatch.setattr("sys.argv", ["llmbatch", verb, "-h"])
    assert main.run_to_code() == 0
    assert f"Usage: llmbatch {verb} " in capfd.readouterr().out


def test_a_mistyped_verb_is_suggested(cli: Cli) -> None:
    code, said = cli("rnu")
    assert code == 2 and "no such command 'rnu'" in said and "Did you mean llmbatch run?" in said
