"""A peer for pace: a task a record behind a semaphore, that tries again after a refusal as people write it.

Usage: python semaphore.py BASE_URL INPUT AT_ONCE SECONDS
"""

import asyncio
import json
import sys

import aiohttp


async def main(base_url: str, source: str, at_once: int, seconds: float) -> None:
    gate = asyncio.Semaphore(at_once)
    connector = aiohttp.TCPConnector(limit=at_once)
    with open(source, encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(prompt: str) -> None:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            async with gate:
                for attempt in range(1000):
                    async with session.post(f"{base_url}/chat/completions", json=body) as answer:
                        if answer.status == 200:
                            await answer.json()
                            return
                        await answer.read()
                    await asyncio.sleep(min(2.0**attempt, 8.0))

        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*map(ask, prompts))
        except TimeoutError:
            pass


if __name__ == "__main__":
    base_url, source, at_once, seconds = sys.argv[1:]
    asyncio.run(main(base_url, source, int(at_once), float(seconds)))
