"""A stage for Ray Data that sends each row to an LLM API: `ds.map_batches(Prompts, ...)`."""

import os
from collections.abc import AsyncIterator
from functools import partial
from hashlib import sha256
from typing import Any, Unpack

from llmbatch.api.background_run import Limits
from llmbatch.api.options import Options
from llmbatch.api.table_run import TableRun
from llmbatch.parts.ray_limits import limits_on_ray

try:
    import ray
    import ray.data  # here, and not in the first batch, it is missed
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

    `rpm`, `tpm` and `max_cost` hold for all actors of the stage together, and with `share_limits="NAME"` for all
    stages and runs on the cluster that have this name.

    Nothing is recorded, unless `folder` names one that all nodes see: each actor then writes a results file there and
    takes answers to equal requests from those of earlier actors: a lost actor costs what it had not written yet.
    """

    def __init__(
        self, *, prefix: str = "", folder: "str | os.PathLike[str] | None" = None, **options: Unpack[Options]
    ) -> None:
        self._run = TableRun(options, prefix=prefix, folder=folder, limits=_limits(options))

    async def __call__(self, batch: Any) -> AsyncIterator[Any]:
        """Yield the batch with the columns of the answers."""
        yield await self._run.answer(batch)

    def __del__(self) -> None:
        """End the run when the actor does."""
        if "_run" in self.__dict__:
            self._run.close()


def _limits(options: Options) -> Limits | None:
    """Return the limits of all actors with these options in this pipeline, or of all that share a name."""
    name = options.get("share_limits")
    if not ray.is_initialized() or (name is not None and ":" in name):
        return None
    if name is None:
        written = repr(sorted(options.items(), key=lambda item: item[0]))
        name = f"{ray.get_runtime_context().get_job_id()} {sha256(written.encode()).hexdigest()}"
    return partial(limits_on_ray, name)
