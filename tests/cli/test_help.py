"""`llmbatch help`: pages that the package carries."""

import re

import pytest

from llmbatch.cli.help import help as show_help
from llmbatch.core.errors import UsageError
from llmbatch.ui.help_pages import first_lines, page

TOPICS = ("records", "results", "resume", "pacing", "batches", "providers", "cost", "environment", "exit-codes")


@pytest.mark.parametrize("topic", [*TOPICS, "recipes", "troubleshooting"])
def test_each_topic_of_the_contract_has_a_page(topic: str) -> None:
    assert page(topic).startswith("# ") and len(page(topic).splitlines()) > 10


def test_without_a_topic_the_pages_are_listed_with_a_line_each(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show_help(None)
    listed = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.split()[0] for line in listed] == [*first_lines()]
    assert all(re.fullmatch(r"  [a-z-]+ +[A-Z].*[.]", line) for line in listed)


def test_in_a_pipe_a_page_is_the_markdown_itself(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show_help("Exit_Codes")
    assert capfdbinary.readouterr().out.decode() == page("exit-codes")


def test_a_topic_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="no page 'resumes'") as raised:
        show_help("resumes")
    assert "Did you mean llmbatch help resume?" in (raised.value.hint or "")
