"""Values that are odd in the places that dialects look at."""

from hypothesis import strategies as st

from llmbatch.core.prompt import Prompt

_NAMES = [
    "args", "blockReason", "candidates", "category", "code", "content", "content_block", "data", "delta", "details",
    "error", "finishReason", "function", "functionCall", "id", "image_url", "index", "input", "message", "name",
    "parts", "promptFeedback", "role", "source", "text", "thinking", "thought", "tool_calls", "tool_call_id", "type",
    "url", "usage",
]  # fmt: skip
_WORDS = [
    "assistant", "content_block_delta", "content_block_start", "error", "file", "function", "image_url",
    "json_schema", "message_delta", "message_start", "message_stop", "system", "text", "text_delta", "thinking",
    "tool", "tool_use", "user",
]  # fmt: skip

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_WORDS)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)
        | st.builds(lambda kind, rest: {**rest, "type": kind}, st.sampled_from(_WORDS), st.dictionaries(
            st.sampled_from(_NAMES), inner, max_size=3
        ))
    ),
    max_leaves=10,
)  # fmt: skip
"""Any JSON, made of the names and words that answers are made of."""

PARAMS = st.dictionaries(
    st.sampled_from(
        ["tools", "tool_choice", "response_format", "stop", "output_config", "thinking", "generationConfig", "n",
         "max_tokens", "stream", "temperature", "systemInstruction", "generation_config"]
    ),
    JSON,
    max_size=3,
)  # fmt: skip


_MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "parts"]), JSON, max_size=4
)
_SYSTEM = st.none() | st.text(max_size=5)

PROMPTS = st.builds(Prompt, text=st.text(max_size=5), system=_SYSTEM, params=PARAMS) | st.builds(
    Prompt, messages=st.lists(_MESSAGE, min_size=1, max_size=4), system=_SYSTEM, params=PARAMS
)
"""What records may ask: messages that are any objects, parameters of any value."""
