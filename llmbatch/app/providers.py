"""Lists the presets, says whether their keys are set, and asks whether they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import anyio

from llmbatch.app.servers import find_preset, find_servers
from llmbatch.codec import json
from llmbatch.core.errors import LlmbatchError, UsageError
from llmbatch.core.exchange import Expected, Reply, Request
from llmbatch.core.fault import Fault
from llmbatch.core.plural import counted
from llmbatch.core.settings import ModelSettings
from llmbatch.dialects.errors import api_error
from llmbatch.dialects.presets import PRESETS
from llmbatch.transport.head import Heads
from llmbatch.transport.limits import Limits
from llmbatch.transport.proxies import lane_opener
from llmbatch.transport.sender import LaneSender

__all__ = ["Check", "Provider", "checked", "providers"]

MODELS = "/models"

PATIENCE = 10.0
"""Seconds for a list of models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The answer to GET /models. `models` is how many it lists, if that could be read, `names` what they are called."""

    ok: bool
    message: str
    status: int | None = None
    models: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One preset. `key_set` says whether one of its variables is set, and never to what."""

    provider: str
    base_url: str
    endpoint: str
    key_env: tuple[str, ...]
    key_set: bool
    needs_key: bool
    check: Check | None = None

    def as_json(self) -> dict[str, object]:
        """Return the same as plain values."""
        fields = asdict(self)
        if self.check is None:
            del fields["check"]
        else:
            del fields["check"]["names"]
        return fields


def providers(names: Sequence[str], environment: Mapping[str, str]) -> list[Provider]:
    """Return the presets of these names, or all. Raises UsageError for an unknown name."""
    found = []
    for name in names or PRESETS:
        _, preset = find_preset(ModelSettings(provider=name), environment)
        found.append(
            Provider(
                provider=name,
                base_url=preset.base_url,
                endpoint=preset.endpoint,
                key_env=preset.key_env,
                key_set=any(environment.get(variable, "").strip() for variable in preset.key_env),
                needs_key=not preset.local,
            )
        )
    return found


async def checked(found: Sequence[Provider], environment: Mapping[str, str]) -> list[Provider]:
    """Ask all providers at once for their models, each with the key that a run would send."""
    checks: dict[str, Check] = {}

    async def ask(name: str) -> None:
        checks[name] = await _check(name, environment)

    async with anyio.create_task_group() as tasks:
        for one in found:
            tasks.start_soon(ask, one.provider)
    return [replace(one, check=checks[one.provider]) for one in found]


async def _check(name: str, environment: Mapping[str, str]) -> Check:
    try:
        model = ModelSettings(provider=name)
        servers = find_servers(model, environment)
    except LlmbatchError as error:
        return Check(ok=False, message=error.message)
    if not servers.base_url:
        return Check(ok=True, message="built in")
    limits = Limits(connect_timeout=PATIENCE, timeout=PATIENCE)
    try:
        lane = lane_opener(servers.base_url, limits=limits, ca_file=servers.ca_file)()
        sender = LaneSender(lane, Heads(servers.base_url, servers.headers), limits=limits)
    except UsageError as error:
        return Check(ok=False, message=error.message)
    try:
        answer = await sender.send(
            Request((), servers.preset.path_for(MODELS), b"", Expected("passthrough"), method="GET")
        )
    finally:
        with anyio.CancelScope(shield=True):
            await sender.aclose()
    check = _read(answer)
    return replace(check, message=servers.redact(check.message))


def _read(answer: Reply | Fault) -> Check:
    if isinstance(answer, Fault):
        return Check(ok=False, status=answer.status, message=answer.message)
    if answer.status != 200:
        return Check(ok=False, status=answer.status, message=api_error(answer)[0].message)
    try:
        body = json.loads_shallow(answer.body)
    except ValueError:
        body = None
    if isinstance(body, dict):
        body = body.get("data", body.get("models"))
    if not isinstance(body, list):
        return Check(ok=False, status=200, message="it answers, but not with a list of models")
    named = (one.get("id") or one.get("name") for one in body if isinstance(one, dict))
    names = tuple(name.removeprefix("models/") for name in named if isinstance(name, str))
    return Check(ok=True, status=200, models=len(body), names=names, message=counted(len(body), "model"))
