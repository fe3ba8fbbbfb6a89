"""Google's generateContent. Records may be in OpenAI's format; parameters move to where Gemini expects them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, broken_off, count, read_answer, request_id, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.finish_reasons import is_broken_off, note_finish
from llmbatch.dialects.gemini_request import FOREIGN, PARAMS, flattened, nested, parts, translate, translated_contents
from llmbatch.dialects.gemini_stream import fold, joined, unwrapped
from llmbatch.dialects.openai_chat_answers import Choice, choice_entries, first_sound, image
from llmbatch.dialects.openai_messages import check_no_foreign_fields, split_system, tool_calls
from llmbatch.dialects.openai_stream import joined_base64
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["PARAMS", "PATH", "Gemini", "read", "usage"]

PATH = ENDPOINTS["gemini"].path

_COLLECTIONS = ("models", "tunedModels")
"""Where models are: a model is named alone, or as a resource such as `tunedModels/NAME`."""


class Gemini:
    """Builds generateContent requests. Model and streaming are part of the path."""

    name = "gemini"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH) -> None:
        self._options = options._replace(defaults=flattened(options.defaults), overrides=flattened(options.overrides))
        self._routes = Routes(path, self.name, _COLLECTIONS)
        streamed = path.replace(":generateContent", ":streamGenerateContent")
        self._streams = Routes(f"{streamed}{'&' if '?' in path else '?'}alt=sse", self.name, _COLLECTIONS)

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what Gemini has no place for."""
        if prompt.body is not None:
            contents = prompt.body.get("contents")
            if not isinstance(contents, list) or not contents:
                raise RecordError("the body has no contents")
            fields = dict(prompt.body)
            if prompt.system is not None:
                fields.setdefault("systemInstruction", {"parts": [{"text": prompt.system}]})
        else:
            contents, messages = split_system(prompt)
            fields = {"contents": translated_contents(messages)}
            if contents:
                fields["systemInstruction"] = {"parts": [part for content in contents for part in parts(content)]}
        body = flattened(fields)
        complete(body, replace(prompt, params=flattened(prompt.params)), self._options, ("maxOutputTokens",))
        check_no_foreign_fields(body, FOREIGN, "Gemini")
        model = body.pop("model").removeprefix("models/")
        routes = self._streams if body.pop("stream", None) else self._routes
        translate(body)
        return routes[model], nested(body)

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        route = self._streams[job.route.model] if self._options.stream else job.route
        return Request((job,), route.path, json.dumps(job.item), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error of any shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    body = joined(body) if isinstance(body, list) else unwrapped(body)
    candidates = body.get("candidates")
    if has_error(body):
        fault = embedded_error(body, reply)
        # An answer that had begun may be charged.
        broke_off = candidates and fault.billing is not Billing.SERVER
        return replace(fault, billing=Billing.DOUBTFUL) if broke_off else fault
    blocked = (body.get("promptFeedback") or {}).get("blockReason")
    if not candidates and blocked:
        return _blocked(blocked, body, reply)
    if not isinstance(candidates, list) or not candidates:
        return unparsable(reply, "the answer has no candidates")
    return _completion(body, candidates, reply)


def _blocked(reason: Any, body: dict[str, Any], reply: Reply) -> Fault:
    """Return the fault for a blocked prompt; it is charged if its tokens were counted."""
    return Fault(
        kind=Kind.CONTENT_FILTER,
        message=f"the prompt was blocked: {reason}",
        code=str(reason).lower(),
        billing=Billing.BILLED if body.get("usageMetadata") else Billing.UNBILLED,
        status=reply.status,
        request_id=_id(body, reply),
        usage=usage(body.get("usageMetadata")),
    )


def _completion(body: dict[str, Any], candidates: list[Any], reply: Reply) -> Completion | Fault:
    first = candidates[0] if len(candidates) == 1 else first_sound(candidates, _candidate)
    used = usage(body.get("usageMetadata"))
    text, finish, extra = _candidate(first)
    if finish != "STOP" and is_broken_off(finish):
        return broken_off(reply, finish, used, None)
    completion = Completion(
        text=text,
        finish_reason=None,
        model=body.get("modelVersion"),
        usage=used,
        request_id=_id(body, reply),
        extra=extra,
    )
    note_finish(completion, finish)
    if "tool_calls" in extra and completion.finish_reason == "stop":
        completion.finish_reason = "tool_calls"
    if len(candidates) > 1:
        extra["choices"] = choice_entries(candidates, _candidate)
    return completion


def _candidate(candidate: dict[str, Any]) -> Choice:
    """Read one candidate. Raises TypeError, AttributeError or LookupError for anything else."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[tuple[str | None, Any, Any]] = []
    sounds: list[dict[str, str]] = []
    extra: dict[str, Any] = {}
    for part in (candidate.get("content") or {}).get("parts") or ():
        call = part.get("functionCall")
        if call is not None:
            calls.append((call.get("id"), call["name"], call.get("args") or {}))
        elif "text" in part:
            (thoughts if part.get("thought") else texts).append(part["text"] or "")
        elif not part.get("thought") and (picture := _image(part)):
            extra.setdefault("images", []).append(picture)
        elif not part.get("thought") and (sound := _sound(part)):
            sounds.append(sound)
    if calls:
        extra["tool_calls"] = tool_calls(calls)
    if thoughts:
        extra["reasoning"] = "".join(thoughts)
    if sounds:
        extra["audio"] = sounds[0] | {"data": joined_base64(sound["data"] for sound in sounds)}
    if logprobs := candidate.get("logprobsResult"):
        extra["logprobs"] = _logprobs(logprobs)
    if "groundingMetadata" in candidate or "citationMetadata" in candidate:
        _note_citations(candidate, extra)
    return "".join(texts) if texts else None, candidate.get("finishReason"), extra


def _image(part: dict[str, Any]) -> Any:
    """Return the image of a part as a part of a chat message; None for any other part."""
    match part:
        case {"inlineData": {"mimeType": str(kind), "data": str(data)}} if kind.startswith("image/"):
            return image(f"data:{kind};base64,{data}")
        case {"fileData": {"fileUri": str(url)} as file} if str(file.get("mimeType")).startswith("image/"):
            return image(url)
    return None


def _sound(part: dict[str, Any]) -> dict[str, str] | None:
    """Return what a part says aloud; None for any other part."""
    match part:
        case {"inlineData": {"mimeType": str(kind), "data": str(data)}} if kind.startswith("audio/"):
            return {"data": data, "mime_type": kind}
    return None


def _logprobs(result: dict[str, Any]) -> dict[str, Any]:
    """Return log probabilities in the shape of chat completions."""
    content = [_logprob(chosen) for chosen in result.get("chosenCandidates") or ()]
    for entry, top in zip(content, result.get("topCandidates") or (), strict=False):
        entry["top_logprobs"] = [_logprob(one) for one in top.get("candidates") or ()]
    return {"content": content}


def _logprob(candidate: dict[str, Any]) -> dict[str, Any]:
    return {"token": candidate.get("token"), "logprob": candidate.get("logProbability")}


def _note_citations(candidate: dict[str, Any], extra: dict[str, Any]) -> None:
    """Note the sources of an answer: search results, and works it quotes."""
    search, recited = candidate.get("groundingMetadata") or {}, candidate.get("citationMetadata") or {}
    sources = [
        *(search.get("groundingChunks") or ()),
        *(recited.get("citations") or recited.get("citationSources") or ()),
    ]
    if sources:
        extra["citations"] = sources


def _id(body: dict[str, Any], reply: Reply) -> str | None:
    """Return the provider's id of the answer, which Gemini puts into the body."""
    id = body.get("responseId")
    return request_id(reply) or (id if isinstance(id, str) else None)


def usage(raw: Any) -> Usage | None:
    """Normalise Gemini's usage, which counts thoughts and tool prompts separately."""
    if not isinstance(raw, dict):
        return None
    thoughts = count(raw.get("thoughtsTokenCount"))
    tokens_in = _sum(count(raw.get("promptTokenCount")), count(raw.get("toolUsePromptTokenCount")))
    answered = _sum(count(raw.get("candidatesTokenCount")), thoughts)
    rest = (count(raw.get("totalTokenCount")) or 0) - (tokens_in or 0)
    if not tokens_in and not answered:
        if rest <= 0:
            return None  # zeros alone mean that tokens were not counted
        tokens_in = rest
    elif answered is None and rest > 0:
        answered = rest
    return Usage(
        input_tokens=tokens_in,
        output_tokens=answered,
        cached_input_tokens=count(raw.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _sum(*counts: int | None) -> int | None:
    """Add the counts that are there; None without any."""
    known = [number for number in counts if number is not None]
    return sum(known) if known else None
