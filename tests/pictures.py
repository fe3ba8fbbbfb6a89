"""Draw a run as it looks on a terminal, as SVG: `make pictures`. The command runs for real, against the mock."""

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "samples" / "run.svg"
WIDTH = 100
COMMANDS = (
    "llmbatch run samples/prompts.jsonl -p mock -o answers.jsonl --rpm 4800 --limit 120",
    "llmbatch run samples/prompts.jsonl -p mock -o answers.jsonl --price 0.25,2",
)


def on_terminal(command: str, folder: Path) -> str:
    """Run a command with stderr on a terminal; return what stands there at the end and once in the middle."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "LINES": "30", "TERM": "xterm-256color", "LANG": "C.UTF-8"}
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
    return _frames(seen.decode("utf-8", "replace"))


def _frames(text: str) -> str:
    """Keep the frame in the middle of what was drawn, and what remains at the end."""
    frames = text.replace("\r\n", "\n").split("\r\x1b[2K")
    drawn = [frame for frame in frames if "ETA" in frame]
    end = frames[-1].rpartition("\x1b[1A\x1b[2K")[2]
    middle = f"{drawn[len(drawn) // 2].rpartition(chr(27) + '[2K')[2]}\n" if drawn else ""
    return middle + end


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "samples").symlink_to(ROOT / "samples")
        for command in COMMANDS:
            console.print(Text(f"$ {command}", "bold"))
            console.print(Text.from_ansi(on_terminal(command, folder).rstrip("\n")))
            console.print()
    drawn = console.export_svg(title="llmbatch", theme=MONOKAI)
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))  # a picture asks no server


if __name__ == "__main__":
    main()
