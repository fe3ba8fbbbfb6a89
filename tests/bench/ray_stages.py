"""The stage for Ray Data beside ray.data.llm's HTTP processor, on one machine and one mock: rows a second.

Run by `make bench-scale`, with Ray. The peer has many actors with small batches, since an actor sends the rows of a
batch one after the other; both have their records in memory, and the seconds count from the plan to the last row.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "llmbatch" / "help" / "parts.md"
BEGIN, END = "<!-- make bench-scale -->\n", "<!-- end of make bench-scale -->\n"
LATENCY = 0.05


def llmbatch_stage(data: Any, rows: list[dict[str, Any]], url: str, blocks: int) -> int:
    """Answer all rows with `Prompts`: two actors with 50 requests in flight each."""
    from llmbatch.ray import Prompts

    answered = data.from_items(rows, override_num_blocks=blocks).map_batches(
        Prompts,
        fn_constructor_kwargs={"base_url": url, "model": "m", "concurrency": 50},
        batch_format="pyarrow",
        batch_size=64,
        num_cpus=0.5,
        compute=data.ActorPoolStrategy(size=2),
    )
    return sum(row["status"] == "ok" for row in answered.iter_rows())


def ray_llm(data: Any, rows: list[dict[str, Any]], url: str, blocks: int) -> int:
    """Answer all rows with ray.data.llm: 16 actors, batches of 16."""
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    processor = build_processor(
        HttpRequestProcessorConfig(url=f"{url}/chat/completions", batch_size=16, concurrency=16, max_retries=5),
        preprocess=lambda row: {
            "payload": {"model": "m", "messages": [{"role": "user", "content": row["prompt"]}]},
            **row,
        },
        postprocess=lambda row: {"text": row["http_response"]["choices"][0]["message"]["content"]},
    )
    answered = processor(data.from_items(rows, override_num_blocks=blocks))
    return sum(bool(row["text"]) for row in answered.iter_rows())


@contextmanager
def mock() -> Iterator[str]:
    """Serve the mock in a process of its own."""
    command = [sys.executable, "-m", "llmbatch", "mock", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def measured(stage: Callable[..., int], data: Any, records: int, url: str) -> float:
    """Return the rows a second from the plan to the last row."""
    rows = [{"prompt": f"row {number}"} for number in range(records)]
    began = time.monotonic()
    assert stage(data, rows, url, max(16, records // 250)) == records
    return records / (time.monotonic() - began)


def main() -> None:
    """Measure; print the table, and with `--readme` write it into the page of help."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, mock() as url:
        os.environ["HOME"] = folder
        import ray
        import ray.data

        ray.init(num_cpus=18, include_dashboard=False, logging_level="ERROR", log_to_driver=False, _temp_dir=folder)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rates = {stage.__name__: measured(stage, ray.data, options.records, url) for stage in (llmbatch_stage, ray_llm)}
        version = ray.__version__
        ray.shutdown()
    print(json.dumps(rates))
    ours, theirs = rates["llmbatch_stage"], rates["ray_llm"]
    table = (
        f"{options.records:,} rows, each answered after {LATENCY * 1000:.0f} ms, start of the actors included; "
        f"Ray {version}, {os.cpu_count()} processors, measured by `make bench-scale`:\n\n"
        "| stage | actors | rows a second |\n|---|---|---|\n"
        f"| `llmbatch.ray.Prompts`, 50 in flight an actor | 2 | {ours:,.0f} |\n"
        f"| `ray.data.llm` HTTP, batches of 16 | 16 | {theirs:,.0f} |\n"
    )
    print(table)
    if options.readme:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
