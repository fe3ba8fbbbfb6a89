"""`llmbatch help`: pages that the package carries."""

import re
import shutil
import subprocess

import pytest

from llmbatch.cli.help import help as show_help
from llmbatch.cli.lazy_commands import VERBS
from llmbatch.cli.man_page import man_page
from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.options.table import ALL_FLAGS
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


def test_the_man_page_has_every_verb_flag_and_exit_code_in_ascii() -> None:
    page = man_page()
    plain = re.sub(r"\\f[BIR]", "", page).replace("\\-", "-")
    for option in ALL_FLAGS:
        assert re.search(rf"^(?:{option.short}, )?{option.flag}(?: |$)", plain, re.MULTILINE), option.flag
    for verb in VERBS:
        assert f"\n.TP\n\\fB{verb}\\fR\n" in page
    status = plain.partition(".SH EXIT STATUS")[2].partition(".SH ")[0]
    assert {int(code) for code in re.findall(r"\b\d+\b", "\n".join(status.split(".TP\n")))} >= {
        int(c) for c in ExitCode
    }
    assert page.isascii() and not re.search(r"(?<!\\)`|\*\*|\|---", page)
    assert all(line.startswith((".TH", ".nh", ".ad", ".SH", ".SS", ".TP", ".PP", ".br", ".nf", ".fi"))
               for line in page.splitlines() if line.startswith((".", "'")))  # fmt: skip


def test_the_man_page_is_set_without_a_warning() -> None:
    if shutil.which("groff") is None:  # the test above holds what can be held without it
        return
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=man_page().encode(), capture_output=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == b"" and b"JSON line for each" in done.stdout
