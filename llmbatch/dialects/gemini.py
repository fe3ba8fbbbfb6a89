"""Google's generateContent. Records may be written in OpenAI's words; parameters move to where Gemini wants them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from llmbatch.codec import json
from llmbatch.codec.sse import events
from llmbatch.core.exchange import Expected, Reply, Request, Verdicts
from llmbatch.core.fault import Billing, Fault, Kind
from llmbatch.core.job import Job, Route
from llmbatch.core.outcome import Completion, Usage
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.answers import alone, count, read_answer, request_id, unparsable
from llmbatch.dialects.embedded_errors import embedded_error, has_error
from llmbatch.dialects.finish_reasons import normalised, note_finish
from llmbatch.dialects.gemini_request import FOREIGN, PARAMS, gathered, parts, spread, translate, turns
from llmbatch.dialects.openai_messages import opened, refuse_foreign, tool_calls
from llmbatch.dialects.openai_stream import CutStream
from llmbatch.dialects.providers import ENDPOINTS
from llmbatch.dialects.request_options import Options, Routes, complete

__all__ = ["PARAMS", "PATH", "Gemini", "fold", "joined", "read", "usage"]

PATH = ENDPOINTS["gemini"].path


class Gemini:
    """Builds generateContent requests. The model stands in the path, and so does whether to stream."""

    name = "gemini"
    params = PARAMS

    def __init__(self, options: Options, *, path: str = PATH) -> None:
        self._options = options._replace(defaults=spread(options.defaults), overrides=spread(options.overrides))
        self._routes = Routes(path, self.name)
        streamed = path.replace(":generateContent", ":streamGenerateContent")
        self._streams = Routes(f"{streamed}{'&' if '?' in path else '?'}alt=sse", self.name)

    def pack(self, waiting: Sequence[Job]) -> int:
        """Return 1: a request serves one record."""
        return 1

    def item(self, prompt: Prompt) -> tuple[Route, dict[str, Any]]:
        """Build the body of one record. Raises RecordError for what Gemini has no place for."""
        if prompt.body is not None:
            contents = prompt.body.get("contents")
            if not isinstance(contents, list) or not contents:
                raise RecordError("the body has no contents")
            given = dict(prompt.body)
            if prompt.system is not None:
                given.setdefault("systemInstruction", {"parts": [{"text": prompt.system}]})
        else:
            said, messages = opened(prompt)
            given = {"contents": turns(messages)}
            if said:
                given["systemInstruction"] = {"parts": [part for content in said for part in parts(content)]}
        body = spread(given)
        complete(body, replace(prompt, params=spread(prompt.params)), self._options, ("maxOutputTokens",))
        refuse_foreign(body, FOREIGN, "Gemini")
        model = body.pop("model").removeprefix("models/")
        routes = self._streams if body.pop("stream", None) else self._routes
        translate(body)
        return routes[model], gathered(body)

    def request(self, jobs: Sequence[Job]) -> Request:
        """Build the request of one job."""
        (job,) = jobs
        route = self._streams[job.route.model] if self._options.stream else job.route
        return Request((job,), route.path, json.dumps(job.item), alone(self.name, job.keep_body))


def read(expected: Expected, reply: Reply) -> Verdicts:
    """Read an answer: a completion, or a fault for an error in whatever shape."""
    return (read_answer(reply, _verdict, fold, keep_body=expected.keeps[0]),)


def _verdict(body: Any, reply: Reply) -> Completion | Fault:
    body = joined(body) if isinstance(body, list) else body
    candidates = body.get("candidates")
    if has_error(body):
        fault = embedded_error(body, reply)
        # What broke off an answer may be charged, whatever it is.
        broke_off = candidates and fault.billing is not Billing.SERVER
        return replace(fault, billing=Billing.DOUBTFUL) if broke_off else fault
    blocked = (body.get("promptFeedback") or {}).get("blockReason")
    if not candidates and blocked:
        return _blocked(blocked, body, reply)
    if not isinstance(candidates, list) or not candidates:
        return unparsable(reply, "the answer has no candidates")
    return _completion(body, candidates, reply)


def _blocked(reason: Any, body: dict[str, Any], reply: Reply) -> Fault:
    """Fail a prompt that was not let through; reading it is charged where its tokens were counted."""
    return Fault(
        kind=Kind.CONTENT_FILTER,
        message=f"the prompt was blocked: {reason}",
        code=str(reason).lower(),
        billing=Billing.BILLED if body.get("usageMetadata") else Billing.UNBILLED,
        status=reply.status,
        request_id=_id(body, reply),
        usage=usage(body.get("usageMetadata")),
    )


def _completion(body: dict[str, Any], candidates: list[Any], reply: Reply) -> Completion:
    text, thoughts, calls = _said(candidates[0])
    completion = Completion(
        text=text,
        finish_reason=None,
        model=body.get("modelVersion"),
        usage=usage(body.get("usageMetadata")),
        request_id=_id(body, reply),
    )
    note_finish(completion, candidates[0].get("finishReason"))
    if len(candidates) > 1:
        completion.extra["choices"] = [
            {
                "index": candidate.get("index", place),
                "text": _said(candidate)[0],
                "finish_reason": normalised(candidate.get("finishReason")),
            }
            for place, candidate in enumerate(candidates)
        ]
    if calls:
        completion.extra["tool_calls"] = tool_calls(calls)
        if completion.finish_reason == "stop":
            completion.finish_reason = "tool_calls"
    if thoughts:
        completion.extra["reasoning"] = thoughts
    return completion


def _said(candidate: dict[str, Any]) -> tuple[str | None, str, list[tuple[str | None, Any, Any]]]:
    """Return the text of a candidate, None where it has none, its thoughts, and its function calls."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[tuple[str | None, Any, Any]] = []
    for part in (candidate.get("content") or {}).get("parts") or ():
        call = part.get("functionCall")
        if call is not None:
            calls.append((call.get("id"), call["name"], call.get("args") or {}))
        elif "text" in part:
            (thoughts if part.get("thought") else texts).append(part["text"])
    return "".join(texts) if texts else None, "".join(thoughts), calls


def _id(body: dict[str, Any], reply: Reply) -> str | None:
    """Return the provider's name for the answer: Gemini says it in the body."""
    id = body.get("responseId")
    return request_id(reply) or (id if isinstance(id, str) else None)


def usage(raw: Any) -> Usage | None:
    """Normalise Gemini's usage, which counts thoughts and the prompts of tools apart."""
    if not isinstance(raw, dict):
        return None
    thoughts = count(raw.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=_sum(count(raw.get("promptTokenCount")), count(raw.get("toolUsePromptTokenCount"))),
        output_tokens=_sum(count(raw.get("candidatesTokenCount")), thoughts),
        cached_input_tokens=count(raw.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _sum(*counts: int | None) -> int | None:
    """Add what was said; None when nothing was."""
    said = [number for number in counts if number is not None]
    return sum(said) if said else None


def fold(stream: bytes) -> dict[str, Any]:
    """Join the chunks of a finished stream into one answer.

    Raises CutStream when a candidate was not told to have ended, or ValueError, TypeError, AttributeError for chunks
    of another shape.
    """
    body = joined(json.loads_shallow(event.data) for event in events(stream))
    candidates = body.get("candidates")
    ended = all(candidate.get("finishReason") for candidate in candidates) if candidates else body.get("promptFeedback")
    if not ended and "error" not in body:
        raise CutStream("the stream ended in the middle")
    return body


def joined(chunks: Iterable[Any]) -> dict[str, Any]:
    """Join chunks, each of them shaped like a whole answer; an error among them stands beside what came before it."""
    body: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        body |= {name: value for name, value in chunk.items() if name != "candidates" and value is not None}
        for piece in chunk.get("candidates") or ():
            index = piece.get("index", 0)
            whole = candidates.setdefault(index, {"content": {"role": "model", "parts": []}})
            whole |= {name: value for name, value in piece.items() if name != "content"}
            whole["content"]["parts"] += (piece.get("content") or {}).get("parts") or ()
    if candidates:
        body["candidates"] = [candidates[index] for index in sorted(candidates)]
    return body
