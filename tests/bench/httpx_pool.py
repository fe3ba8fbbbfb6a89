"""A peer: a worker pool on one shared httpx.AsyncClient and uvloop.

Usage: python httpx_pool.py BASE_URL INPUT OUTPUT WORKERS
"""

import asyncio
import json
import sys

import httpx
import uvloop


async def main(base_url: str, source: str, target: str, workers: int) -> None:
    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=workers * 2)
    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
    headers = {"authorization": "Bearer key"}
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=600, headers=headers) as client:

            async def work() -> None:
                while (line := await queue.get()) is not None:
                    record = json.loads(line)
                    body = {"model": "m", "messages": [{"role": "user", "content": record["prompt"]}]}
                    answer = (await client.post("chat/completions", json=body)).raise_for_status().json()
                    text = answer["choices"][0]["message"]["content"]
                    out.write(json.dumps({"id": record["id"], "text": text, "usage": answer["usage"]}) + "\n")

            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers):
                    tasks.create_task(work())
                for line in lines:
                    await queue.put(line)
                for _ in range(workers):
                    await queue.put(None)


if __name__ == "__main__":
    base_url, source, target, workers = sys.argv[1:]
    uvloop.run(main(base_url, source, target, int(workers)))
