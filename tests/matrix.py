"""Provider by feature: each cell is tried against the mock provider; the table of the help page has the same presets.

What is tried: the request that a preset's dialect builds is decided on by the mock in this process, and its answer read
by the dialect again. No network.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from llmbatch.app.servers import find_preset, find_servers
from llmbatch.core.exchange import Reply
from llmbatch.core.job import Identity, Job
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt
from llmbatch.core.settings import ModelSettings
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.providers import Preset, find_endpoint
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router
from llmbatch.dialects.structured_output import AnswerChecks, JsonRouter, response_format
from llmbatch.mock.provider import Arrival, Provider
from llmbatch.mock.settings import MockSettings

__all__ = ["FEATURES", "LACKING", "PROVIDERS", "Feature", "exceptions", "table", "tried"]

PROVIDERS = {name: (name, preset.endpoint) for name, preset in PRESETS.items() if name != "mock"}
PROVIDERS["openai --endpoint responses"] = ("openai", "responses")
"""Preset and endpoint of each row."""

KEY = "sk-of-the-matrix"

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "note", "parameters": SCHEMA}}
PICTURE = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]


class Feature(NamedTuple):
    """What is asked, and what must come of it."""

    prompt: Callable[[], Prompt]
    good: Callable[[Completion], bool]
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed
    format: dict[str, Any] | None = None
    """The answer is to be JSON, and that is how it is asked for."""


def _asking(**params: Any) -> Callable[[], Prompt]:
    return lambda: Prompt(text="hi", params=dict(params))


FEATURES: dict[str, Feature] = {
    "system prompt": Feature(lambda: Prompt(text="hi", system="Be brief."), lambda a: "'hi'" in (a.text or "")),
    "messages": Feature(
        lambda: Prompt(
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": [{"type": "text", "text": "three"}]},
            ]
        ),
        lambda a: "'three'" in (a.text or ""),
    ),
    "images": Feature(
        lambda: Prompt(messages=[{"role": "user", "content": PICTURE}]), lambda a: "'what is it?'" in (a.text or "")
    ),
    "`--max-tokens`": Feature(_asking(), lambda a: a.finish_reason == "length", {"max_tokens": 3}),
    "`--stream`": Feature(
        _asking(), lambda a: "'hi'" in (a.text or "") and a.finish_reason == "stop", {"stream": True}
    ),
    "`--json`": Feature(
        _asking(), lambda a: isinstance(a.extra["json"], dict), format=response_format(None)
    ),
    "`--schema`": Feature(
        _asking(), lambda a: isinstance(a.extra["json"]["name"], str), format=response_format(SCHEMA)
    ),
    "tools": Feature(
        _asking(tools=[TOOL], tool_choice="required"),
        lambda a: a.finish_reason == "tool_calls" and a.extra["tool_calls"][0]["function"]["name"] == "note",
    ),
    "reasoning": Feature(lambda: Prompt(text="[[mock:reasoning]] hi"), lambda a: bool(a.extra["reasoning"])),
    "several answers (`n`)": Feature(_asking(n=2), lambda a: len(a.extra["choices"]) == 2),
    "tokens counted": Feature(_asking(), lambda a: a.usage is not None and bool(a.usage.output_tokens)),
}  # fmt: skip

LACKING = {
    ("messages", "`--json`"),
    ("messages", "several answers (`n`)"),
    ("responses", "several answers (`n`)"),
}
"""What an endpoint has no place for: such a record is refused by name, and nothing is sent."""

_SERIALS = count(1)


def tried(row: str, feature: str) -> Any:
    """Ask for a feature at a provider; return the verdict. Raises RecordError where there is no place for it."""
    name, endpoint = PROVIDERS[row]
    environment = dict.fromkeys(PRESETS[name].key_env, KEY)
    environment |= dict.fromkeys(PRESETS[name].variables, "me.example")
    settings = ModelSettings(provider=name, endpoint=endpoint)
    (_, preset), sent = find_preset(settings, environment), find_servers(settings, environment)
    wanted = FEATURES[feature]
    options = Options(model="m", **wanted.options)
    in_json = wanted.format is not None
    dialect = JsonRouter(options, preset, endpoint, wanted.format) if in_json else Router(options, preset, endpoint)
    route, item = dialect.item(wanted.prompt())
    request = dialect.request([Job(Identity(0, None, "r"), "k", route, item, {}, 1)])
    root = "/openai" if name == "azure-classic" else "/v1"
    headers = {key.encode(): value.encode() for key, value in sent.headers.items()}
    arrival = Arrival(next(_SERIALS), "POST", root + request.path, headers, request.body, "k", 1)
    mock = Provider(MockSettings(api_key=KEY if preset.key_env else None))
    reply = mock.decide(arrival, now=0.0, wall=0.0).reply
    kind = {"content-type": reply.content_type.decode()}
    (verdict,) = AnswerReader(AnswerChecks(json=in_json)).read(
        request.expected, Reply(reply.status, kind, reply.content)
    )
    return verdict


HEAD = "| `-p` | base URL | key from | where it differs |\n"


def table() -> str:
    """Return the help page's table: a row for each preset, with what is not as in most."""
    rows = [HEAD, "|---|---|---|---|\n"]
    for name, preset in PRESETS.items():
        if name == "mock":
            continue
        key = " or ".join(f"`{one}`" for one in preset.key_env) or "none needed"
        key += ", if set" if preset.local and preset.key_env else ""
        url = preset.base_url.replace("|", "\\|")
        rows.append(f"| `{name}` | `{url}` | {key} | {'; '.join(exceptions(preset))} |\n")
    return "".join(rows)


def exceptions(preset: Preset) -> list[str]:
    """Return what is otherwise with a provider than with most."""
    kind = find_endpoint(preset.endpoint)
    header = preset.auth_header or kind.auth_header
    lacking = [feature for endpoint, feature in sorted(LACKING) if endpoint == preset.endpoint]
    notes = [
        (preset.endpoint != "chat", f"asked at `{preset.endpoint}`"),
        (header != "authorization", f"the key goes in `{header}`"),
        (preset.key_command is not None, f"keys last an hour: `--key-command '{preset.key_command}'`"),
        (preset.token_cap != "max_tokens", f"`--max-tokens` is `{preset.token_cap}`"),
        (bool(preset.names), ", ".join(f"`{ours}` is sent as `{theirs}`" for ours, theirs in preset.names.items())),
        (not preset.stream_usage, "a stream is not asked for its usage"),
        (preset.few_slots, "queues what its slots cannot take"),
        (bool(lacking), f"no {', no '.join(lacking)}"),
    ]
    return [text for true, text in notes if true]
