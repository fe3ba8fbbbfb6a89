"""Several models side by side."""

from typing import Any

import anyio

from llmbatch.app.side_by_side import _to_the_end
from llmbatch.core.tally import ModelTally, Summary


class Ended:
    """A session that ends after some seconds."""

    def __init__(self, after: float) -> None:
        self._after = after

    async def to_the_end(self, snapshots: Any) -> Summary:
        await anyio.sleep(self._after)
        return Summary(
            read=1,
            ok=1,
            failed={},
            not_started=0,
            unwritten=0,
            requests=1,
            retries=0,
            possibly_billed=0,
            input_tokens=1,
            output_tokens=1,
            cost_usd=None,
            models={"m": ModelTally(1, 1)},
            wall_s=1.0,
            waited_s=0.0,
            latency_s={},
            stopped=None,
            hint=None,
            exit_code=0,
        )


def test_models_are_summed_up_in_the_order_in_which_they_were_named() -> None:
    async def both() -> Summary:
        sessions: Any = {"slow": Ended(0.1), "fast": Ended(0.0)}
        return await _to_the_end(sessions, None, timeout=1.0, grace=1.0)

    assert [*anyio.run(both).models] == ["slow", "fast"]
