"""Opens the pages of the report in Chromium and takes their pictures: `make browser`.

It fails on what the console says, on what is wider than the page, on a number that wraps, and on words over each other.
"""

import sys
import tempfile
from pathlib import Path

from tests.browser.chromium import Chromium, chromium
from tests.browser.scenes import COMPARED, SCENES
from tests.support.report_pages import compared, report_of

PICTURES = Path(__file__).parent.parent.parent / "build" / "pictures"
VIEWS = {
    "400": {"width": 400},
    "1200": {"width": 1200},
    "dark": {"width": 1200, "dark": True},
    "print": {"width": 794, "printed": True},
}

WIDER = """[...document.querySelectorAll('main *')].filter(one => {
  const box = one.getBoundingClientRect(); return box.width > 0 && box.right > document.documentElement.clientWidth + 1;
}).map(one => one.outerHTML.slice(0, 120)).slice(0, 5).concat(
  document.scrollingElement.scrollWidth > document.documentElement.clientWidth ? ['the page itself'] : [])"""
"""Elements that reach beyond the right edge."""

WRAPPED = """[...document.querySelectorAll('.num')].filter(one => {
  const range = document.createRange(); range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map(box => Math.round(box.top / 6))).size > 1
    || one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0;
}).map(one => one.outerHTML.slice(0, 120))"""
"""Numbers on more than one line, or cut off."""

CROWDED = """[...document.querySelectorAll('.x')].filter(row => {
  const boxes = [...row.children].map(one => one.getBoundingClientRect()).filter(box => box.width > 0);
  return boxes.some((box, place) => place && box.left < boxes[place - 1].right + 2);
}).map(one => one.textContent)"""
"""Axes whose words touch each other."""


def faults(browser: Chromium) -> list[str]:
    """Say what is wrong with the page that is open."""
    found = [f"the console says: {text}" for text in browser.complaints]
    browser.complaints.clear()
    for what, expression in (("wider than the page", WIDER), ("a number wraps", WRAPPED), ("words touch", CROWDED)):
        found += [f"{what}: {one}" for one in browser.evaluate(expression)]
    return found


def main() -> int:
    """Write the pictures, say what is wrong; return the exit code."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    wrong = []
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        pages = {f"report-{name}": report_of(lines).page for name, lines in SCENES.items()}
        pages |= {f"compare-{name}": compared(Path(place), files).page for name, files in COMPARED.items()}
        for name, page in pages.items():
            path = Path(place) / f"{name}.html"
            path.write_bytes(page)
            for view, how in VIEWS.items():
                browser.open(path, **how)  # type: ignore[arg-type]
                browser.picture(PICTURES / f"{name}-{view}.png")
                browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
                wrong += [f"{name} at {view}: {fault}" for fault in faults(browser)]
    print("\n".join(wrong) or f"{len(pages) * len(VIEWS)} pictures in {PICTURES}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
