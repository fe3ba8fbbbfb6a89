"""Five records against each service whose key is here: live, a batch whose creation is cut off, collected: `make live`.

It needs a key and a model for each service, as OPENAI_API_KEY and LIVE_OPENAI_MODEL, and costs a few cents. A batch may
take up to a day.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmbatch.dialects.batch_apis import BATCH_PROVIDERS
from llmbatch.dialects.presets import PRESETS

LLMBATCH = str(Path(sys.executable).parent / "llmbatch")


def main() -> int:
    """Try every service; return how many failed."""
    failed = 0
    for name in BATCH_PROVIDERS:
        model = os.environ.get(f"LIVE_{name.upper()}_MODEL")
        if not any(os.environ.get(variable) for variable in PRESETS[name].key_env):
            print(f"{name}: never, no key here ({' or '.join(PRESETS[name].key_env)})")
        elif model is None:
            print(f"{name}: never, no model named (LIVE_{name.upper()}_MODEL)")
        else:
            wrong = _try(name, model)
            print(f"{name}: {wrong or time.strftime('passed on %Y-%m-%d')}", flush=True)
            failed += wrong is not None
    return failed


def _try(name: str, model: str) -> str | None:
    """Return what went wrong, None when all went well."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        source.write_text("".join(json.dumps({"id": n, "prompt": f"Say the number {n}."}) + "\n" for n in range(5)))
        order = [LLMBATCH, "run", source, "-p", name, "-m", model, "--max-tokens", "64", "-o", output]
        if subprocess.run([*order, "--limit", "1"]).returncode:
            return "the live record failed"
        tickets = Path(folder) / "out.jsonl.state" / "tickets.jsonl"
        run = subprocess.Popen([*order, "--batch-api"])
        while run.poll() is None and not (tickets.exists() and b'"asked"' in tickets.read_bytes()):
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)  # its answer is lost, whether or not the batch was made
        run.wait()
        if code := subprocess.run([*order, "--batch-api"]).returncode:
            return f"the batch was not collected: exit {code}"
        made = tickets.read_bytes().count(b'"step":"running"')
        verified = subprocess.run([LLMBATCH, "verify", source, "-o", output]).returncode
        return None if made == 1 and not verified else f"{made} batches were made, verify ended with {verified}"


if __name__ == "__main__":
    sys.exit(main())
