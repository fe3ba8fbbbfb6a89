"""Finds the provider's batch API and the key for the batches of a run, new ones and those of earlier runs."""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING

import anyio.to_thread

from llmbatch.app.servers import Servers, find_servers, is_own_machine
from llmbatch.batches.batches import Batches
from llmbatch.batches.calls import BatchClient
from llmbatch.batches.chunks import ChunkLimits, Chunks
from llmbatch.batches.sizes import SHARE, BatchSizes
from llmbatch.core.clock import Clock
from llmbatch.core.errand import Errand, StrangeAddress, addressed
from llmbatch.core.errors import ActionNeeded, LlmbatchError
from llmbatch.core.exchange import Reply
from llmbatch.core.fault import Fault, Kind, Scope
from llmbatch.core.job import Job, Route
from llmbatch.core.plural import counted
from llmbatch.core.ports import Dialect, Observer
from llmbatch.core.settings import BatchSettings, ModelSettings
from llmbatch.core.ticket import Ticket
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.batch_apis import batch_api
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.pacing.batch_polling import LOCAL, REMOTE
from llmbatch.pacing.cost import Budget
from llmbatch.pacing.retry import RetryPolicy
from llmbatch.results.chunk import members_line
from llmbatch.transport_process.parent import TransportProcess

if TYPE_CHECKING:
    from llmbatch.app.output import Output

__all__ = ["MOCK_ADDRESS", "client_of", "model_of", "new_batches", "open_client"]

MOCK_ADDRESS = "mock"
"""The address of the built-in mock in tickets: it listens elsewhere each time."""


def new_batches(
    settings: BatchSettings,
    model: ModelSettings,
    servers: Servers,
    transport: TransportProcess,
    output: "Output",
    environment: Mapping[str, str],
    *,
    dialect: Dialect,
    reader: AnswerReader,
    policy: RetryPolicy,
    budget: Budget,
    reprice: Callable[[Job], None],
    hold: bool,
    dedupe: bool,
    max_outage: float,
    sync: bool,
    clock: Clock,
    notify: Observer,
    notice: Callable[[str], None],
) -> Batches:
    """Return the batches of a run that has a results file: new ones and those of earlier runs. Raises UsageError.

    With `sync` what batches wrote is put on the disk as other results are.
    """
    store = output.store
    assert store is not None
    run_id = secrets.token_hex(8)
    own = open_client(servers, model, transport)
    client = own if settings.batch_api else None
    chunks = None
    sizes = BatchSizes(settings.batch_tokens, store.tickets.log.limits, store.tickets.log.learn)
    if client is not None:
        store.begin_tickets()
        chunks = Chunks(
            dialect,
            client.api,
            store.tickets.new_chunk,
            store.tickets.new_tag,
            members_line,
            lambda route: _limits(settings, client, sizes, route),
        )
    return Batches(
        settings=settings,
        store=store,
        run_id=run_id,
        client=client,
        find_client=partial(
            _find_client, own=own, ca_file=model.ca_file, transport=transport, environment=environment, notice=notice
        ),
        chunks=chunks,
        sizes=sizes,
        reader=reader,
        policy=policy,
        hold=hold,
        dedupe=dedupe,
        max_outage=max_outage,
        budget=budget,
        reprice=reprice,
        worked=output.worked,
        clock=clock,
        notify=notify,
        random=Random().random,
        sync=output.journal.sync if output.journal is not None and sync else lambda: None,
    )


def open_client(servers: Servers, model: ModelSettings, transport: TransportProcess) -> BatchClient | None:
    """Return a provider with its batch API and the key that goes there; None for one without batches."""
    api = batch_api(servers.name)
    if api is None:
        return None
    base_url, is_mock = servers.base_url, servers.name == "mock" and not model.base_urls
    local = is_own_machine(base_url)
    redact = servers.redact

    async def call(errand: Errand) -> Reply | Fault:
        try:
            reply = await transport.run_errand(addressed(errand, base_url, servers.headers))
            if isinstance(reply, Reply) and reply.status == 401 and servers.ask_key is not None:
                servers.renew(await anyio.to_thread.run_sync(servers.ask_key))
                reply = await transport.run_errand(addressed(errand, base_url, servers.headers))
        except StrangeAddress as error:
            return Fault(kind=Kind.CONFIGURATION, message=str(error))
        except LlmbatchError as error:
            return Fault(kind=Kind.UNAUTHORIZED, message=error.message, scope=Scope.RUN)
        if isinstance(reply, Reply):
            reply.body = redact.in_bytes(reply.body)  # what it says is shown, and stands in files
        return reply

    address = MOCK_ADDRESS if is_mock else base_url
    key = "\0".join((address, *sorted(servers.account)))
    account = blake2b(key.encode(), digest_size=8).hexdigest()
    return BatchClient(servers.name, api, call, address, account, LOCAL if local else REMOTE)


def _find_client(
    ticket: Ticket,
    *,
    own: BatchClient | None,
    ca_file: str | None,
    transport: TransportProcess,
    environment: Mapping[str, str],
    notice: Callable[[str], None],
) -> BatchClient | None:
    """Return the provider of an earlier run's batch, with its key; None, with a notice, where that is not to be had."""
    if own is not None and (own.provider, own.address) == (ticket.provider, ticket.address):
        return own
    what = f"batch {ticket.batch or ticket.tag} of {counted(ticket.count, 'record')} at {ticket.provider}"
    if ticket.address == MOCK_ADDRESS:
        notice(f"{what} is left to a run with -p mock")
        return None
    model = model_of(ticket, environment)._replace(ca_file=ca_file)
    try:
        return client_of(ticket, find_servers(model, environment), model, transport)
    except LlmbatchError as error:
        notice(f"{what} is left for later: {error.message}")
        return None


def client_of(
    ticket: Ticket, servers: Servers, model: ModelSettings, transport: TransportProcess
) -> BatchClient | None:
    """Return the provider of a ticket; None for one without batches. Makes no call.

    A preset's own key goes to the preset's host only. Any other key may belong elsewhere, so it must be the one that
    the batch was made with. Raises ActionNeeded where it is not.
    """
    client = open_client(servers, model, transport)
    if client is not None and (model.key_env or model.base_urls) and client.account != ticket.account:
        raise ActionNeeded(
            f"it was made with another key than {model.key_env or 'LLMBATCH_API_KEY'}, which was not sent to "
            f"{ticket.address}",
            "Set the key that it was made with.",
        )
    return client


def model_of(ticket: Ticket, environment: Mapping[str, str], key_env: str | None = None) -> ModelSettings:
    """Return the settings that lead to the provider of a ticket, with the key that goes there."""
    preset = PRESETS.get(ticket.provider)
    own_address = preset is None or preset.filled(environment).base_url.rstrip("/") != ticket.address
    return ModelSettings(
        provider=ticket.provider if preset is not None else None,
        base_urls=(ticket.address,) if own_address and ticket.address != MOCK_ADDRESS else (),
        endpoint=ticket.dialect if ticket.dialect in ENDPOINTS else None,
        key_env=key_env,
    )


def _limits(batch: BatchSettings, client: BatchClient, sizes: BatchSizes, route: Route) -> ChunkLimits:
    limits = client.api.limits
    records = min(limits.records, batch.batch_records or limits.records, sizes.most(route))
    tokens = sizes.token_limit(route.model)
    most = tokens * SHARE if tokens is not None else None
    return ChunkLimits(int(records), limits.bytes, limits.line, most, limits.inputs)
