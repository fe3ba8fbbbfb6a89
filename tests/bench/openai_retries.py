"""A peer for pace: a task a record behind a semaphore, the openai client with its own retries, as strong as it gets.

Usage: python openai_retries.py BASE_URL INPUT AT_ONCE SECONDS. Prints how many attempts were made.
"""

import asyncio
import json
import sys
from typing import Any

import uvloop
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

RETRIES = 1000
"""By default there are two, and records are lost."""


async def main(base_url: str, source: str, at_once: int, seconds: float) -> None:
    semaphore = asyncio.Semaphore(at_once)
    with open(source, encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    attempts = 0

    async def count(_: Any) -> None:
        nonlocal attempts
        attempts += 1

    client = AsyncOpenAI(
        base_url=base_url,
        api_key="key",
        max_retries=RETRIES,
        http_client=DefaultAsyncHttpxClient(event_hooks={"request": [count]}),
    )

    async def ask(prompt: str) -> None:
        async with semaphore:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])

    try:
        async with client, asyncio.timeout(seconds):
            await asyncio.gather(*map(ask, prompts))
    except TimeoutError:
        pass
    print(attempts)


if __name__ == "__main__":
    base_url, source, at_once, seconds = sys.argv[1:]
    uvloop.run(main(base_url, source, int(at_once), float(seconds)))
