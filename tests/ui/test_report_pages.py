"""The report as a page, as Markdown and as JUnit: figures equal those of the JSON, and no text of others is markup."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmbatch.core.printable import printable
from llmbatch.results.highlights import Highlights
from llmbatch.results.stats import StatsByModel
from llmbatch.ui.report_html import report_page
from llmbatch.ui.report_junit import junit_report
from llmbatch.ui.report_markdown import report_markdown
from tests.browser.scenes import COMPARED, SCENES
from tests.support.report_pages import Page, compared, differing, report_of
from tests.support.result_lines import failed, ok

LINES = [
    *(ok(f"q{n}", n, cost_usd=0.01, latency_s=0.1 * (n + 1), model=f"m-{n % 2}") for n in range(40)),
    failed("bad", 40, "timeout", None, model="m-1"),
    failed(None, 41, "schema", 200, model="m-1"),
]
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TEXT = st.text(st.characters(), max_size=40)


def gathered(lines: list[dict[str, Any]]) -> tuple[StatsByModel, Highlights]:
    book, highlights = StatsByModel(), Highlights()
    book.files = 1
    for line in lines:
        book.add(line)
        highlights.add(line)
    return book, highlights


@pytest.mark.parametrize("scene", SCENES)
def test_every_figure_of_the_page_is_that_of_the_json(scene: str) -> None:
    text, figures = report_of(SCENES[scene])
    figures = json.loads(printable(json.dumps(figures, ensure_ascii=False), 10**6))
    page = Page(text.decode())
    assert differing(page, figures, figures["models"]) == []
    said = {name for of, names, _ in page.figures if of is None for name in re.split("[ +]", names)}
    assert said >= {"records", "ok", "failed", "requests"} | {f"failures.{kind}" for kind in figures["failures"]}
    assert len({of for of, *_ in page.figures if of}) == (len(figures["models"]) if len(figures["models"]) > 1 else 0)


@pytest.mark.parametrize("id", [7, -1, 2**70, "7", None])
def test_an_id_of_any_type_is_shown(id: Any) -> None:
    lines = [{**ok("q", 0, latency_s=1.0), "id": id}, {**failed("q", 1, "timeout", None), "id": id}]
    page = report_of(lines).page.decode()
    assert all(f'<div class="id">{shown}' in page for shown in ([id] if id is not None else ["record 0", "record 1"]))


@pytest.mark.parametrize("files", COMPARED)
def test_every_figure_of_a_comparison_is_that_of_its_json(files: str, tmp_path: Path) -> None:
    text, figures = compared(tmp_path, COMPARED[files])
    page = Page(text.decode())
    figures = json.loads(printable(json.dumps(figures, ensure_ascii=False), 10**6))
    rows = {file["file"]: file for file in figures["files"]}
    assert differing(page, figures, rows) == [] and {of for of, *_ in page.figures if of} == rows.keys()
    assert not page.elements & {"script", "img", "a", "b", "i"} - {"i"}


def test_a_figure_that_differs_is_noticed() -> None:
    text, figures = report_of(LINES)
    page = Page(text.decode())
    numbers = [name for name, value in figures.items() if isinstance(value, int | float) and value]
    shown = {name for of, names, _ in page.figures if of is None for name in re.split("[ +]", names)}
    for name in {*numbers} & shown:
        assert differing(page, figures | {name: figures[name] * 1.02 + 1}, figures["models"]), name


def test_the_page_needs_nothing_but_itself() -> None:
    text = report_page(*gathered(LINES), ["r.jsonl"]).decode()
    page = Page(text)
    assert not page.elements & {"script", "link", "img", "iframe", "object", "embed", "form", "a"}
    assert not re.search(r"url\(|@import|https?://", text.replace("http://www.w3.org", ""))
    assert {"svg", "details", "table"} <= page.elements


@given(TEXT, TEXT, TEXT)
def test_no_text_of_others_becomes_markup(id: str, text: str, model: str) -> None:
    hostile = [
        ok(id, 0, f"<script>{text}", model=f"<b onclick=x>{model}"),
        failed(id, 1, f"<i>{text}"[:60], error={"kind": f"<i>{text}", "message": f"<img src=x>{text}", "status": 400}),
    ]
    page = Page(report_page(*gathered([*LINES, *hostile]), [f"<u>{text}"]).decode())
    clean = Page(report_page(*gathered(LINES), ["r"]).decode())
    assert page.elements == clean.elements and page.attributes <= clean.attributes | {"open"}


@given(TEXT, TEXT)
def test_markdown_keeps_its_tables_whatever_the_texts_are(id: str, text: str) -> None:
    lines = [failed(id, 0, "timeout", error={"kind": "timeout", "message": f"{text} | x <b> `y`", "status": None})]
    said = report_markdown(*gathered(lines)).decode()
    rows = [line for line in said.splitlines() if line.startswith("| timeout")]
    assert len(rows) == 1 and "<b>" not in said
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", rows[-1])) == 5


MARKUP = [
    "|",
    "`",
    "```",
    "<b>",
    "</",
    "**",
    "_",
    "~~",
    "[x](y)",
    "![i](j)",
    "&lt;",
    "\\",
    "<!--",
    "#",
    "- ",
    "a",
    " ",
    "\n",
]


@example("".join(MARKUP))
@example("*i* and _i_ <b>b</b>, &amp;, ~~s~~, `c`, [x](y)")
@given(st.lists(st.sampled_from(MARKUP), max_size=9).map("".join) | TEXT)
def test_a_renderer_of_markdown_shows_each_text_as_it_is(text: str) -> None:
    said = report_markdown(*gathered([failed("q", 0, "timeout", error={"kind": "timeout", "message": text})])).decode()
    tokens = [*chain.from_iterable(one.children or [] for one in RENDERER.parse(said) if one.type == "inline")]
    assert {token.type for token in tokens} <= {"text", "text_special"}
    cells = [one for one in RENDERER.parse(said) if one.type == "inline"]
    shown = "".join(token.content for token in cells[8].children or [])
    assert shown == printable(text.strip(), 200).strip()


@pytest.mark.parametrize(
    "text", ["https://a.example/x", "www.a.example", "a@b.example", "$x$", ":smile: :+1: :100:", "at 10:20:30.5 UTC"]
)
def test_nothing_in_markdown_becomes_a_link_a_formula_or_an_emoji(text: str) -> None:
    said = report_markdown(*gathered([failed("q", 0, "timeout", error={"kind": "timeout", "message": text})])).decode()
    row = next(line for line in said.splitlines() if line.startswith("| timeout"))
    cell = row.split(" | ")[-1].removesuffix(" |")
    assert cell.replace("\\", "") == text
    assert not re.search(r"(?<!\\)[$@]|www\.|\w://|(?<!\\):[a-z+]", cell)
    assert "\\" in cell or "UTC" in cell


@given(st.lists(st.tuples(st.booleans(), TEXT, TEXT), max_size=5))
def test_junit_is_xml_with_a_case_for_each_record(records: list[tuple[bool, str, str]]) -> None:
    with junit_report() as document:
        for fine, id, text in records:
            error = {"kind": "timeout", "message": text, "status": None}
            document.add(ok(id, 0) if fine else failed(id, 0, error=error))
        suite = ET.fromstring(b"".join(document.pieces())).find("testsuite")
    assert suite is not None
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"]) == len(records)
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == sum(not r[0] for r in records)
