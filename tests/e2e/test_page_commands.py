"""Each command of the README and of the pages of help is run as it stands there.

Only models, and what names a machine or a service, are replaced by the mock. The pages of recipes and of batches have
tests of their own (test_recipe_page.py, test_batches.py).
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmbatch.core.errors import ExitCode
from tests.support.forked_command import LLMBATCH

from .command import ROOT, SAMPLES, Mock

PAGES = {"README": ROOT / "README.md"} | {path.stem: path for path in (ROOT / "llmbatch" / "help").glob("*.md")}
ELSEWHERE = ("pip install", "uvx ", "make ", "s3://", "https://host", "--share-limits", "llmbatch limits")
"""What installs the program (tests/test_wheel.py), object stores (test_remote_inputs.py), several machines (parts)."""
ENDS = {"--min-accuracy": ExitCode.FAILURES, "--dry-run | head": ExitCode.READER_GONE}
"""The exit codes of commands that are not to end with 0: the page says so, or a reader takes one line only."""
BEFORE = {
    "results": (
        "llmbatch run prompts.jsonl -m MODEL -o results.jsonl",
        "llmbatch run prompts.jsonl -m MODEL -o shard-1.jsonl --shard 1/2",
        "llmbatch run prompts.jsonl -m MODEL -o shard-2.jsonl --shard 2/2",
        "llmbatch run openai-batch.jsonl -m MODEL -o done.jsonl",
    )
}
"""What a page takes for done."""


def commands_of(page: str) -> list[str]:
    """Return the lines of a page that a shell runs."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[page].read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(("#", "export"))]
    return [line for line in lines if not any(words in line for words in ELSEWHERE)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with what the pages name, as a user would have it."""
    shutil.copytree(SAMPLES, tmp_path / "samples")
    prompts = "".join(json.dumps({"id": f"q{n}", "prompt": f"What is {n}?", "gold": "a"}) + "\n" for n in range(3))
    (tmp_path / "in").mkdir()
    for name in ("prompts.jsonl", "tasks.jsonl", "in/prompts.jsonl"):
        (tmp_path / name).write_text(prompts)
    (tmp_path / "rows.jsonl").write_text('{"id":1,"text":"hi"}\n')
    for name in ("in.csv", "reviews.csv"):
        (tmp_path / name).write_text("id,review\n1,fine\n2,awful\n")
    shutil.copy(SAMPLES / "openai-batch.jsonl", tmp_path)
    for name, field in (("rating.json", "stars"), ("label.json", "label")):
        (tmp_path / name).write_text(json.dumps({"type": "object", "properties": {field: {"type": "string"}}}))
    return tmp_path


@pytest.mark.parametrize("page", [page for page in sorted(PAGES.keys() - {"batches", "recipes"}) if commands_of(page)])
def test_each_command_of_a_page_runs(page: str, folder: Path, mock: Mock) -> None:
    environment = {
        "PATH": f"{Path(LLMBATCH).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": mock.base_url,
    }
    replaced = {
        "MODEL": "mock-1",
        "-p anthropic": "",
        "http://gpu-3:8000/v1": mock.base_url,
        "openai:gpt-5-mini": "openai:mock-1",
        "anthropic:claude-haiku-4-5": "mock:mock-2",
    }
    for line in (*BEFORE.get(page, ()), *commands_of(page)):
        command = line
        for words, others in replaced.items():
            command = command.replace(words, others)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], env=environment, cwd=folder, capture_output=True, timeout=120
        )
        ends = next((code for words, code in ENDS.items() if words in line), ExitCode.OK)
        assert done.returncode == ends, f"{line}\n{done.stderr.decode()}"
