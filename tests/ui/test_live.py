"""The live display on a terminal of any size, which may change its size meanwhile."""

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from llmbatch.core.snapshot import ModelCounts
from llmbatch.ui.live import LiveView, render
from llmbatch.ui.symbols import ASCII, UNICODE, Symbols
from tests.support.snapshots import NOW


class Screen(io.StringIO):
    """A terminal that reflows: rows are those that its lines take at the present width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.lines, self._up = width, [""], 0

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\x1b[2K":
                self._erase_row()
            elif part == "\x1b[1A":
                self._up += 1
            elif part == "\n":
                assert self._up == 0, "nothing may be written into what stands"
                self.lines.append("")
            elif part != "\r" and not part.startswith("\x1b"):
                self.lines[-1] += part
        return len(text)

    def rows(self) -> list[str]:
        return [row for line in self.lines for row in (re.findall(f".{{1,{self.width}}}", line) if line else [""])]

    def _erase_row(self) -> None:
        """Erase the row of the cursor, which is the last one that is left."""
        rows = self.rows()
        rows[len(rows) - 1 - self._up :] = [""]
        self.lines, self._up = rows, 0


def view_on(screen: Screen) -> tuple[LiveView, Callable[[int], None]]:
    console = Console(file=screen, width=screen.width, height=24, force_terminal=True, color_system=None)

    def resize(width: int) -> None:
        screen.width = console.width = width

    return LiveView(console, UNICODE), resize


@pytest.mark.parametrize("narrower", [120, 60, 41, 20])
def test_no_stale_line_is_left_after_a_resize_and_nothing_above_is_erased(narrower: int) -> None:
    screen = Screen(120)
    view, resize = view_on(screen)
    screen.write("$ llmbatch run\n")
    with view(lambda: NOW):
        view.show(NOW)
        view.say("llmbatch: a notice")
        assert sum("61,204 of 100,000" in line for line in screen.lines) == 1
        resize(narrower)
        view.say("llmbatch: another")
    assert " ".join(" ".join(screen.lines).split()) == "$ llmbatch run llmbatch: a notice llmbatch: another"


@pytest.mark.parametrize("symbols", [UNICODE, ASCII], ids=["unicode", "ascii"])
@given(width=st.integers(20, 200), height=st.integers(2, 50))
def test_it_fits_the_screen(symbols: Symbols, width: int, height: int) -> None:
    lines = [line.plain for line in render(NOW, symbols, width, height)]
    assert 1 <= len(lines) < height and all(cell_len(line) < width for line in lines)
    assert "61%" in lines[0] or width < 30


def test_it_says_how_much_is_done_how_fast_and_why_not_faster() -> None:
    text = "\n".join(line.plain for line in render(NOW, UNICODE, 200, 50))
    for words in (
        "61% · 61,204 of 100,000 · 2:03 · ETA 1:15",
        "61,200 ok · 4 failed · 3 to be sent again · 612.4/s (497.6/s on average) · 64 of 128 in flight",
        "820 ms an answer",
        "$12.35 ($7.50 left)",
        "rate limited, 12 s",
        "anthropic/claude-sonnet-4-5-20250929  61,000 ok  3 failed",
    ):
        assert words in text


def test_five_rows_are_enough_and_an_estimate_is_told_from_a_count() -> None:
    lines = render(NOW._replace(total_is_exact=False), UNICODE, 80, 5)
    assert len(lines) == 4 and "of about 100,000" in lines[0].plain


def test_what_models_and_servers_are_called_drives_no_terminal() -> None:
    hostile = NOW._replace(models=(ModelCounts("\x1b[2J\rx", 1, 0), ModelCounts("y", 1, 0)))
    assert not re.search("[\x00-\x09\x0b-\x1f]", "\n".join(line.plain for line in render(hostile, UNICODE, 80, 50)))
