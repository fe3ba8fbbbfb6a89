"""Routes calls about files and batches to their handlers, and drops the answers that a fault drops."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio

from llmbatch.mock.batch import Batch
from llmbatch.mock.batch_anthropic import ANTHROPIC_BATCHES, ANTHROPIC_ROUTES
from llmbatch.mock.batch_call import BadCall, Call
from llmbatch.mock.batch_family import Route
from llmbatch.mock.batch_gemini import GEMINI_BATCH_ROUTES, GEMINI_BATCHES
from llmbatch.mock.batch_mistral import MISTRAL_BATCHES, MISTRAL_ROUTES
from llmbatch.mock.batch_openai import OPENAI_BATCHES, OPENAI_ROUTES
from llmbatch.mock.batch_provider import BatchProvider
from llmbatch.mock.batch_results import Shared
from llmbatch.mock.batch_store import BatchStore
from llmbatch.mock.batch_together import TOGETHER_BATCHES, TOGETHER_ROUTES
from llmbatch.mock.batch_worker import BatchWorker
from llmbatch.mock.batch_xai import XAI_BATCHES, XAI_ROUTES
from llmbatch.mock.dialect import MalformedRequest
from llmbatch.mock.error_formats import ErrorFormat, Refusal
from llmbatch.mock.fault_markers import Fault
from llmbatch.mock.ledger import Ledger
from llmbatch.mock.provider import Provider, Verdict
from llmbatch.mock.reply_faults import apply_fault
from llmbatch.mock.settings import MockSettings

__all__ = ["BatchService", "Handler"]

_FAMILIES = {
    family.name: family
    for family in (OPENAI_BATCHES, ANTHROPIC_BATCHES, GEMINI_BATCHES, MISTRAL_BATCHES, TOGETHER_BATCHES, XAI_BATCHES)
}
_ROUTES = (*OPENAI_ROUTES, *ANTHROPIC_ROUTES, *GEMINI_BATCH_ROUTES, *MISTRAL_ROUTES, *TOGETHER_ROUTES, *XAI_ROUTES)
_LOST = Fault("close", {})


class Handler(NamedTuple):
    """Who answers a call, with the ids that its path holds."""

    route: Route
    ids: dict[str, str]


class BatchService:
    """The files and batches of one provider. The folder is made when the first call comes, or when it is named."""

    def __init__(
        self,
        settings: MockSettings,
        provider: Provider,
        ledger: Ledger | None,
        serials: Iterator[int],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._provider = settings, provider
        self._ledger, self._serials, self._clock = ledger, serials, clock
        self._stack = ExitStack()
        self._opened = anyio.Event()
        self._batches: BatchProvider | None = None

    def __enter__(self) -> Self:
        if self._settings.batch_dir is not None:
            self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    async def run(self) -> None:
        """Work on batches until cancelled."""
        await self._opened.wait()
        await self._open().worker.run()

    def handler(self, method: str, target: str) -> Handler | None:
        """Return who answers a call, None if it is not about files or batches."""
        path = target.partition("?")[0]
        for route in _ROUTES:
            if method == route.method and (match := re.fullmatch(route.pattern, path)):
                return Handler(route, {name: text for name, text in match.groupdict().items() if text is not None})
        return None

    async def answer(self, handler: Handler, call: Call) -> Verdict:
        """Return the verdict on a call, and how its answer is lost if it is."""
        route, provider = handler.route, self._provider
        seed = f"{self._settings.seed}:{call.method}:{call.path}"
        refusal = provider.check_key(call.headers) or provider.random_refusal(seed)
        if refusal is not None:
            return _refused(refusal, route.error_format)
        fault = provider.fault([], "", seed)
        if fault is not None and fault.name == "status":
            reply = apply_fault(route.error_format.refuse(Refusal(500, "")), fault, route.error_format)
            return Verdict(reply, fault=fault, request_id=route.error_format.request_id)
        try:
            reply = await route.handle(self._open(), call, **handler.ids)
        except BadCall as error:
            return _refused(error.refusal, route.error_format)
        except MalformedRequest as error:
            return _refused(Refusal(400, str(error), param=error.param), route.error_format)
        if call.created is not None and self._is_lost(call.created):
            fault = _LOST
        return Verdict(reply, fault=fault, request_id=route.error_format.request_id)

    def logged(self, batch: Batch) -> dict[str, Any]:
        """Return what the ledger says of a create."""
        files_of = _FAMILIES[batch.family].files_of or batch.family
        file = self._open().store.file(batch.file, files_of, batch.created)
        named = (batch.shown.get("displayName") or batch.shown.get("metadata"), file and file.name)
        checked = batch.checked
        tag = next(filter(None, named), checked.first if checked else None)
        count = checked.count if checked else file.lines if file else 0
        return {"batch": batch.id, "tag": tag, "count": count, "input": batch.file}

    def _is_lost(self, batch: Batch) -> bool:
        draw = Random(f"{self._settings.seed}:lost:{batch.number}").random()
        return draw < self._settings.batch_lost_create

    def _open(self) -> BatchProvider:
        if self._batches is None:
            folder = self._settings.batch_dir or self._stack.enter_context(
                TemporaryDirectory(prefix="llmbatch-mock-", ignore_cleanup_errors=True)
            )
            shared = Shared(
                self._settings, self._provider, BatchStore(folder), self._ledger, self._serials, self._clock
            )
            self._batches = BatchProvider(shared, BatchWorker(shared, _FAMILIES))
            self._opened.set()
        return self._batches


def _refused(refusal: Refusal, error_format: ErrorFormat) -> Verdict:
    return Verdict(error_format.refuse(refusal), request_id=error_format.request_id)
