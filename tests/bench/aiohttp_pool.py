"""The peer: a worker pool on aiohttp with orjson and plain writes, as a good engineer writes it in an hour.

Usage: python aiohttp_pool.py BASE_URL INPUT OUTPUT WORKERS
"""

import asyncio
import sys

import aiohttp
import orjson


async def main(base_url: str, source: str, target: str, workers: int) -> None:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=workers * 2)
    connector = aiohttp.TCPConnector(limit=workers)
    timeout = aiohttp.ClientTimeout(total=600)
    headers = {"content-type": "application/json", "authorization": "Bearer key"}
    with open(target, "wb") as out:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

            async def work() -> None:
                while (line := await queue.get()) is not None:
                    record = orjson.loads(line)
                    body = {"model": "m", "messages": [{"role": "user", "content": record["prompt"]}]}
                    async with session.post(f"{base_url}/chat/completions", data=orjson.dumps(body)) as response:
                        answer = orjson.loads(await response.read())
                    result = {
                        "id": record["id"],
                        "status": response.status,
                        "text": answer["choices"][0]["message"]["content"],
                        "usage": answer["usage"],
                    }
                    out.write(orjson.dumps(result) + b"\n")

            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers):
                    tasks.create_task(work())
                with open(source, "rb") as lines:
                    for line in lines:
                        await queue.put(line)
                for _ in range(workers):
                    await queue.put(None)


if __name__ == "__main__":
    base_url, source, target, workers = sys.argv[1:]
    asyncio.run(main(base_url, source, target, int(workers)))
