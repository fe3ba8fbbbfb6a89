"""A stage for Ray Data that sends each row to an LLM API: `ds.map_batches(Prompts, ...)`."""

import os
from collections.abc import AsyncIterator
from typing import Any, Unpack

from llmbatch.api.options import Options
from llmbatch.api.table_run import TableRun

try:
    import ray.data  # noqa: F401  # here, and not in the first batch, it is missed
except ImportError as error:
    raise ImportError("llmbatch.ray needs Ray Data: pip install 'llmbatch[ray-data]', on every node") from error

__all__ = ["Prompts"]


class Prompts:
    """Answers rows in a pipeline of Ray Data.

    **At least once a batch: what a lost actor had in flight is sent, and paid for, again.** For paid prompts name a
    `folder`, or use `llmbatch.run` with `engine="ray"`.

        from llmbatch.ray import Prompts

        answers = ds.map_batches(
            Prompts,
            fn_constructor_kwargs=dict(model="MODEL", template="Sentiment of: {{ review }}"),
            batch_format="pyarrow",
            batch_size=64,
            max_concurrency=8,
            compute=ray.data.ActorPoolStrategy(size=4),
        )

    A row is a record: it has a column `prompt` or `messages`, or there is a template. Options are those of
    `llmbatch.run`. Each actor has one run, with its connections and its pace, for all of its batches; several
    batches at once (`max_concurrency`) keep it busy while one of them waits for a slow answer.

    A row keeps its columns and gets those of its answer, whose names begin with `prefix`: `status`, `text`, `json`,
    `embedding`, `tool_calls`, `finish_reason`, `error`, `usage`, `cost_usd`, `attempts`, `possibly_billed`, `billed`,
    `latency_s`, `model`, `request_id`, and `more`, the other fields of the result as JSON. Their types never change. A
    row that fails has `status` "failed" and an `error`; what would fail every row, as a refused key, raises.

    Nothing is recorded, unless `folder` names one that all nodes see: each actor then writes a results file there and
    takes answers to equal requests from those of earlier actors, so that a lost actor costs what it had in flight.
    """

    def __init__(
        self, *, prefix: str = "", folder: "str | os.PathLike[str] | None" = None, **options: Unpack[Options]
    ) -> None:
        self._run = TableRun(options, prefix=prefix, folder=folder)

    async def __call__(self, batch: Any) -> AsyncIterator[Any]:
        """Yield the batch with the columns of the answers."""
        yield await self._run.answer(batch)

    def __del__(self) -> None:
        """End the run when the actor does."""
        if "_run" in self.__dict__:
            self._run.close()
