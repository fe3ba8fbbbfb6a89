"""Draw runs as they look on a terminal, as SVG: `make pictures`. The commands run for real, against the mock.

The picture of the README stands in `samples`, the others, at several widths, in `build/pictures`; those as PNG, too,
where there is a Chromium.
"""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.browser.chromium import chromium, executable

ROOT = Path(__file__).parent.parent
README = ROOT / "samples" / "run.svg"
PICTURES = ROOT / "build" / "pictures"
WIDTHS = (60, 80, 120, 200)
RUN = "llmbatch run samples/prompts.jsonl -p mock -o answers.jsonl"
IN_README = (f"{RUN} --rpm 4800 --limit 120", f"{RUN} --price 0.25,2")
MODELS = ("gpt-5-mini", "claude-haiku-4-5-20251001", "gemini-2.5-flash", "mistral-large-2411", "deepseek-chat")
MODELS += ("meta-llama/Llama-3.3-70B-Instruct-Turbo-Free",)
TROUBLE = ("status code=400", "status code=422", "content-filter", "nan", "truncate", "refusal")
SCENES = {
    "success": f"{RUN} --price 0.25,2",
    "failures": "llmbatch run trouble.jsonl -p mock -o answers.jsonl --price 0.25,2",
    "models": "llmbatch run models.jsonl -p mock -o answers.jsonl --price 0.25,2 --rpm 9000",
    "stopped": f"{RUN} --rpm 4800 --deadline 1s",
    "batches": f"{RUN} --batch-api --no-wait",
    "report": f"{RUN} -q && llmbatch report answers.jsonl >&2",
    "verify": f"{RUN} -q --limit 200 && llmbatch verify samples/prompts.jsonl -o answers.jsonl >&2",
}


class Screen(NamedTuple):
    """What stands on a terminal: once in the middle of the progress, and at the end."""

    middle: str
    end: str


def on_terminal(command: str, folder: Path, width: int) -> Screen:
    """Run a command with stderr on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    process = subprocess.Popen(
        command, shell=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    process.wait()
    return _screens(seen.decode("utf-8", "replace").replace(f"{folder}/", ""))


def _screens(text: str) -> Screen:
    frames = text.replace("\r\n", "\n").split("\r\x1b[2K")
    drawn = [frame for frame in frames if "in flight" in frame and " ok" in frame]
    end = frames[-1].rpartition("\x1b[1A\x1b[2K")[2]
    return Screen(drawn[len(drawn) // 2].rpartition(chr(27) + "[2K")[2] if drawn else "", end)


def draw(path: Path, width: int, parts: Iterable[str]) -> None:
    """Write texts as a picture of a terminal."""
    console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    for part in filter(None, parts):
        console.print(Text.from_ansi(part.rstrip("\n")), overflow="fold")
        console.print()
    drawn = console.export_svg(title="llmbatch", theme=MONOKAI)
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))  # a picture asks no server


def prepare(folder: Path) -> None:
    """Write the inputs."""
    (folder / "samples").symlink_to(ROOT / "samples")
    asked = [{"id": f"q{n:04d}", "prompt": f"Name fact {n}.", "model": MODELS[n % len(MODELS)]} for n in range(600)]
    (folder / "models.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    trouble = [
        {
            "id": f"r{n:03d}",
            "prompt": f"Question {n}" + (f" [[mock:{TROUBLE[n % len(TROUBLE)]}]]" if n % 7 == 0 else ""),
        }
        for n in range(300)
    ]
    lines = [json.dumps(one) for one in trouble]
    lines[100], lines[200] = '{"text": "no prompt here"}', "no JSON"
    (folder / "trouble.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        screens = [(f"\x1b[1m$ {command}\x1b[0m", *on_terminal(command, folder, 100)) for command in IN_README]
        draw(README, 100, ["\n".join(part.strip("\n") for part in screen if part) for screen in screens])
        for name, command in SCENES.items():
            for width in WIDTHS:
                shutil.rmtree(folder / "answers.jsonl.state", ignore_errors=True)
                (folder / "answers.jsonl").unlink(missing_ok=True)
                draw(
                    PICTURES / f"terminal-{name}-{width}.svg",
                    width,
                    (f"$ {command}", *on_terminal(command, folder, width)),
                )
    if executable() is not None:
        with chromium() as browser:
            for path in PICTURES.glob("terminal-*.svg"):
                box = re.search(r'viewBox="0 0 ([\d.]+)', path.read_text())
                browser.open(path, width=int(float(box[1])) if box is not None else 1200)
                browser.picture(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
