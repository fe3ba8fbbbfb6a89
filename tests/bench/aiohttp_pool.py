"""The peers: a worker pool on aiohttp and uvloop, with json as in its documentation, or with orjson.

Usage: python aiohttp_pool.py plain|orjson BASE_URL INPUT OUTPUT WORKERS
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import uvloop

Ask = Callable[[aiohttp.ClientSession, str, dict[str, Any]], Awaitable[tuple[int, Any]]]


async def ask_plainly(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with session.post(url, json=body) as response:
        return response.status, await response.json()


async def ask_with_orjson(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with session.post(url, data=orjson.dumps(body)) as response:
        return response.status, orjson.loads(await response.read())


async def main(
    ask: Ask,
    loads: Callable[[bytes], Any],
    dumps: Callable[[Any], bytes],
    base_url: str,
    source: str,
    target: str,
    workers: int,
) -> None:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=workers * 2)
    connector = aiohttp.TCPConnector(limit=workers)
    timeout = aiohttp.ClientTimeout(total=600)
    headers = {"content-type": "application/json", "authorization": "Bearer key"}
    with open(target, "wb") as out:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

            async def work() -> None:
                while (line := await queue.get()) is not None:
                    record = loads(line)
                    body = {"model": "m", "messages": [{"role": "user", "content": record["prompt"]}]}
                    status, answer = await ask(session, f"{base_url}/chat/completions", body)
                    result = {
                        "id": record["id"],
                        "status": status,
                        "text": answer["choices"][0]["message"]["content"],
                        "usage": answer["usage"],
                    }
                    out.write(dumps(result) + b"\n")

            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers):
                    tasks.create_task(work())
                with open(source, "rb") as lines:
                    for line in lines:
                        await queue.put(line)
                for _ in range(workers):
                    await queue.put(None)


if __name__ == "__main__":
    kind, base_url, source, target, workers = sys.argv[1:]
    plain = (ask_plainly, json.loads, lambda value: json.dumps(value).encode())
    chosen = plain if kind == "plain" else (ask_with_orjson, orjson.loads, orjson.dumps)
    uvloop.run(main(*chosen, base_url, source, target, int(workers)))
