"""A peer: the openai client, all requests at once under a semaphore, as most scripts have it, on uvloop.

Usage: python openai_gather.py BASE_URL INPUT OUTPUT IN_FLIGHT
"""

import asyncio
import json
import sys

import uvloop
from openai import AsyncOpenAI


async def main(base_url: str, source: str, target: str, in_flight: int) -> None:
    semaphore = asyncio.Semaphore(in_flight)
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        async with AsyncOpenAI(base_url=base_url, api_key="key") as client:

            async def ask(line: str) -> None:
                record = json.loads(line)
                async with semaphore:
                    answer = await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": record["prompt"]}]
                    )
                usage = answer.usage.model_dump() if answer.usage else None
                result = {"id": record["id"], "text": answer.choices[0].message.content, "usage": usage}
                out.write(json.dumps(result) + "\n")

            await asyncio.gather(*(ask(line) for line in lines))


if __name__ == "__main__":
    base_url, source, target, in_flight = sys.argv[1:]
    uvloop.run(main(base_url, source, target, int(in_flight)))
