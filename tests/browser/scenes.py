"""Results files as they occur, for pictures and tests of the pages that are made from them."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

from tests.support.result_lines import failed, ok

__all__ = ["COMPARED", "SCENES"]

Lines = list[dict[str, Any]]

WORDS = (
    "Lift is the upward force that a wing makes when air flows over it.",
    "Positive. The guest praises the room, the breakfast and the quiet street.",
    "The bay leaf does not dissolve; take it out before you serve the stew.",
    "1. Check the fuse.\n2. Turn the switch off and on again.\n3. If it still does nothing, call a technician.",
    "Nein: der Zug hält dort nur werktags. 🚆",
    "A prime number has exactly two divisors, one and itself, which is why one is not counted among them.",
)
MESSAGES = {
    "rate_limited": (429, "Rate limit reached for requests per day. Please try again in 24h."),
    "bad_request": (400, "This model's maximum context length is 8192 tokens, but 9310 tokens were requested."),
    "timeout": (None, "no answer within 600 s"),
    "schema": (200, "the answer does not fit the schema: /stars: 7 is greater than the maximum of 5"),
}


def job(records: int, models: Iterable[str], share_failed: float = 0.0, *, seed: int = 1, pace: float = 0.1) -> Lines:
    """Return the lines of a run of so many records, some failed, `pace` seconds between two of them."""
    chance, names = random.Random(seed), [*models]
    lines = []
    for index in range(records):
        began = index * pace * chance.uniform(0.9, 1.1)
        more: dict[str, Any] = {
            "model": names[index % len(names)],
            "started_at": f"2026-11-22T10:{int(began // 60) % 60:02d}:{began % 60:06.3f}Z",
            "latency_s": round(chance.lognormvariate(0, 0.55) * (1 + index % len(names) / 4), 3),
        }
        if chance.random() < share_failed:
            kind = chance.choice([*MESSAGES])
            status, message = MESSAGES[kind]
            error = {"kind": kind, "status": status, "code": None, "message": message}
            lines.append(failed(f"review-{index:04d}", index, error=error, **more))
        else:
            usage = {"input_tokens": chance.randrange(40, 400), "output_tokens": chance.randrange(20, 300)}
            cost = (usage["input_tokens"] * 0.25 + usage["output_tokens"] * 2) / 1e6
            text = chance.choice(WORDS)
            lines.append(ok(f"review-{index:04d}", index, text, usage=usage, cost_usd=cost, **more))
    return lines


SEVEN = (
    *("gpt-5-mini-2026-08-07", "claude-haiku-4-5-20251001", "gemini-2.5-flash", "mistral-large-2411"),
    *("meta-llama/Llama-3.3-70B-Instruct-Turbo-Free", "deepseek-chat", "qwen3-235b-a22b-instruct-2507"),
)


def _huge() -> Iterator[dict[str, Any]]:
    for line in job(400, ("m-1", "a-model-of-a-very-long-name/" + "x" * 120), 0.02, pace=7.0):
        if line["status"] == "ok":
            yield line | {
                "id": line["id"] + "-" * 90,
                "usage": {"input_tokens": 98_765_432, "output_tokens": 12_345_678},
                "cost_usd": 1_234.567,
                "text": line["text"] * 30 + "unbreakable" * 40,
                "latency_s": line["latency_s"] * 4000,
            }
        else:
            yield line


HOSTILE = [
    ok("<script>alert(1)</script>", 0, "<img src=x onerror=alert(1)>", model="<b onclick=alert(1)>m"),
    failed(
        "\u202eevil",
        1,
        model="m-2",
        error={"kind": "<i>kind", "status": 400, "code": None, "message": '"><script>alert(2)'},
    ),
    ok(None, 2, "", model="m-2", cost_usd=0.0000123),
]

SCENES: dict[str, Lines] = {
    "usual": job(600, ("gpt-5-mini-2026-08-07",), 0.02),
    "models": job(1400, SEVEN, 0.03),
    "fine": job(240, ("gpt-5-mini-2026-08-07",)),
    "failed": job(60, ("gpt-5-mini",), 1.0),
    "one": job(1, ("gpt-5-mini-2026-08-07",)),
    "empty": [],
    "huge": [*_huge()],
    "hostile": HOSTILE,
}
COMPARED: dict[str, dict[str, Lines]] = {
    "two": {
        name: job(60, (model,), 0.05, seed=seed)
        for seed, (name, model) in enumerate((("a", SEVEN[0]), ("b", SEVEN[1])))
    },
    "seven": {f"answers-{n}.jsonl": job(200, (model,), n / 60, seed=n % 3) for n, model in enumerate(SEVEN)},
    "hostile": {"<b>.jsonl": HOSTILE, "x" * 120: HOSTILE[:1], "none.jsonl": []},
}
"""Files by name for each comparison."""
