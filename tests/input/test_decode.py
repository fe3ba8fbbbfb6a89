"""Records to what they ask, and who they are."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.codec.digest import digest
from llmbatch.codec.json import canonical
from llmbatch.core.errors import InputError, UsageError
from llmbatch.core.fault import Kind
from llmbatch.core.job import Identity
from llmbatch.core.outcome import InvalidRecord
from llmbatch.core.prompt import Prompt
from llmbatch.input.decode import Decoded, Decoder
from llmbatch.input.entry import Entry
from llmbatch.input.occurrences import Occurrences
from llmbatch.input.template import Template


def decoder(**changes: Any) -> Decoder:
    settings: dict[str, Any] = {
        "params": frozenset({"temperature", "tools", "stop"}),
        "id_field": None,
        "meta": "all",
        "meta_fields": frozenset(),
        "template": None,
        "system": None,
        "form": None,
        "seen": Occurrences(),
        "notice": lambda text: None,
    }
    return Decoder(**{**settings, **changes})


def entry(value: Any, line: int = 5) -> Entry:
    return Entry(f"line {line}", value, None, b"")


def decode(value: Any, **changes: Any) -> Decoded:
    decoded = decoder(**changes).decode(4, entry(value))
    assert isinstance(decoded, Decoded), decoded
    return decoded


def refuse(value: Any, **changes: Any) -> InvalidRecord:
    decoded = decoder(**changes).decode(4, entry(value))
    assert isinstance(decoded, InvalidRecord), decoded
    return decoded


MESSAGES = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("record", "prompt", "meta"),
    [
        ("x", Prompt(text="x"), {}),
        ({"prompt": "x"}, Prompt(text="x"), {}),
        (
            {
                "id": 1,
                "prompt": "x",
                "system": "s",
                "model": "m",
                "params": {"top_p": None},
                "temperature": 1,
                "a": [2],
            },
            Prompt(text="x", system="s", model="m", params={"top_p": None}),
            {"temperature": 1, "a": [2]},
        ),
        ({"prompt": "x", "input": "alpaca"}, Prompt(text="x"), {"input": "alpaca"}),
        (
            {"prompt": "x", "messages": None, "system": None, "model": None, "params": None},
            Prompt(text="x"),
            {},
        ),
        ({"messages": MESSAGES, "row": 7}, Prompt(messages=MESSAGES), {"row": 7}),
        (
            {"messages": MESSAGES, "temperature": 0, "stop": None, "row": 7, "params": {"temperature": 1}},
            Prompt(messages=MESSAGES, params={"temperature": 1, "stop": None}),
            {"row": 7},
        ),
        ({"input": ["a", "b"], "custom_id": "c"}, Prompt(input=["a", "b"]), {}),
        ({"input": "a", "id": None, "custom_id": "c"}, Prompt(input="a"), {}),
        ({"input": "a", "id": "b", "custom_id": "c"}, Prompt(input="a"), {"custom_id": "c"}),
        (
            {
                "custom_id": "c",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "m"},
                "row": 7,
            },
            Prompt(body={"model": "m"}, path="/chat/completions"),
            {"row": 7},
        ),
        ({"custom_id": "c", "url": "/v1beta/x", "body": {}}, Prompt(body={}, path="/v1beta/x"), {}),
        ({"url": "/v1/x", "body": {}, "n": 1}, Prompt(body={}, path="/x"), {"n": 1}),
        (
            {"id": 1, "body": {"query": "q"}, "model": "m", "params": {"k": 1}, "n": 1},
            Prompt(body={"query": "q"}, model="m", params={"k": 1}),
            {"n": 1},
        ),
        ({"body": {"a": 1}, "prompt": "p"}, Prompt(text="p"), {"body": {"a": 1}}),
        (
            {"custom_id": "c", "url": "https://x", "body": "y", "prompt": "p"},
            Prompt(text="p"),
            {"url": "https://x", "body": "y"},
        ),
    ],
)
def test_forms(record, prompt, meta):
    decoded = decode(record)
    assert decoded.prompt == prompt
    assert decoded.meta == meta
    assert decoded.fields == (record if isinstance(record, dict) else {"prompt": record})


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"question": "x"}, "has no prompt; --template makes one of its fields"),
        ({"prompt": None}, "has no prompt"),
        ({}, "has no prompt"),
        ({"body": "x"}, "has no prompt"),
        ({"body": {}, "model": 7}, "model must be a string"),
        ({"body": {}, "params": []}, "params must be an object"),
        ("", "prompt is empty"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": ["x"]}, "prompt must be a string, not an array"),
        ({"prompt": "x", "messages": MESSAGES}, "both prompt and messages"),
        ({"input": "x", "messages": MESSAGES}, "both messages and input"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "x"}, "messages must be an array"),
        ({"messages": [*MESSAGES, 7]}, "message 2 must be an object, not a number"),
        ({"input": ""}, "input is empty"),
        ({"input": {"a": 1}}, "input must be a string or an array"),
        ({"prompt": "x", "system": 1}, "system must be a string"),
        ({"prompt": "x", "model": True}, "model must be a string, not a boolean"),
        ({"prompt": "x", "model": ""}, "model is empty"),
        ({"prompt": "x", "params": "y"}, "params must be an object"),
        ({"messages": MESSAGES, "params": []}, "params must be an object"),
        (7, "a record is an object or a string"),
        (None, "a record is an object or a string"),
        (["x"], "a record is an object or a string"),
        ({"prompt": "x", "id": 1.5}, "id must be a string or an integer"),
        ({"prompt": "x", "id": True}, "id must be a string or an integer"),
        ({"prompt": "x", "custom_id": {}}, "custom_id must be a string or an integer"),
        ({"custom_id": "c", "url": "/v1/x", "body": []}, "needs a body that is an object"),
        ({"custom_id": "c", "url": "/v1/x", "body": {}, "method": "GET"}, "method must be POST"),
        ({"custom_id": "c", "url": 7, "body": {}}, "needs a url that is a string"),
    ],
)
def test_records_that_ask_nothing_usable_are_refused(record, why):
    refused = refuse(record)
    assert refused.fault.kind is Kind.INVALID_RECORD
    assert refused.fault.message.startswith("line 5: ")
    assert why in refused.fault.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1",
        "/v1/",
        "v1/chat",
        "https://evil.example/v1/chat",
        "//evil.example/x",
        "/v1//evil.example",
        "/v1/../admin",
        "/v1/chat?x=1",
        "/v1/chat#x",
        "/v1/a b",
        "/v1/a\r\nHost: evil",
        "/v1/chat\n",
        "/v1/%2e%2e/x",
        "/v1/a\\b",
        "/v1/é",
    ],
)
def test_batch_line_must_have_a_plain_path(url):
    assert "url must be" in refuse({"custom_id": "c", "url": url, "body": {}}).fault.message


def test_batch_input_has_nothing_but_batch_lines():
    assert "needs a body" in refuse({"prompt": "x"}, form="openai-batch").fault.message


def test_refused_records_keep_their_id_and_their_meta():
    refused = refuse({"id": "q", "prompt": 7, "row": 1})
    assert refused.identity.id == "q"
    assert refused.meta == {"row": 1}
    assert refused.input == {"id": "q", "prompt": 7, "row": 1}


def test_unusable_line_is_refused_with_a_digest_of_its_bytes():
    broken = Entry("line 5", None, "line 5 column 2: not JSON: why", b"{x")
    decoding = decoder()
    first, second = decoding.decode(0, broken), decoding.decode(1, broken)
    assert isinstance(first, InvalidRecord)
    assert isinstance(second, InvalidRecord)
    assert first.fault.message == "line 5 column 2: not JSON: why"
    assert first.identity == Identity(0, None, digest(b"raw", b"{x"), 0)
    assert second.identity.occurrence == 1


def test_parameters_beside_messages_are_announced_once():
    told: list[str] = []
    decoding = decoder(notice=told.append)
    for index in range(3):
        decoding.decode(index, entry({"messages": MESSAGES, "tools": [], "temperature": 1, "row": index}, index))
    assert told == ["sent as parameters: tools, temperature (line 0); --meta-field NAME keeps one as meta"]


def test_meta_field_keeps_a_parameter_as_meta():
    decoded = decode({"messages": MESSAGES, "temperature": 1, "stop": "x"}, meta_fields=frozenset({"temperature"}))
    assert decoded.prompt.params == {"stop": "x"}
    assert decoded.meta == {"temperature": 1}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [("all", {"a": 1, "b": 2}), ("none", {}), (frozenset({"b", "prompt", "zz"}), {"prompt": "x", "b": 2})],
)
def test_meta_is_all_none_or_named(meta, expected):
    assert decode({"id": 1, "prompt": "x", "a": 1, "b": 2}, meta=meta).meta == expected


def test_template_takes_any_object_and_every_field_is_data():
    template = Template.parse("{{ q }} {{ model }}")
    record = {"id": 1, "q": "x", "model": "bmw", "system": 7, "params": "p", "messages": 0}
    decoded = decode(record, template=template, system=Template.parse("As {{ q }}"))
    assert decoded.prompt == Prompt(text="x bmw", system="As x")
    assert decoded.meta == {name: value for name, value in record.items() if name != "id"}
    assert decode("x", template=Template.parse("Q: {{ prompt }}")).prompt.text == "Q: x"
    assert "empty prompt" in refuse({"q": ""}, template=Template.parse("{{ q }}")).fault.message


def test_template_without_fields_is_announced():
    told: list[str] = []
    decoder(template=Template.parse("Say {q}"), notice=told.append)
    assert "every record asks the same" in told[0]


@pytest.mark.parametrize("text", ["Say {q}", "Say { q }"])
def test_a_field_in_single_braces_is_never_sent_as_it_is(text: str):
    decoding = decoder(template=Template.parse(text))
    with pytest.raises(UsageError, match=r"single braces would be sent as it is: \{q\}") as caught:
        decoding.decode(0, entry({"q": 1}, 1))
    assert caught.value.hint is not None and "{{ q }}" in caught.value.hint
    assert decode({"q": 1}, template=Template.parse("Say {{ '{q}' }}")).prompt.text == "Say {q}"
    assert decode({"r": 1}, template=Template.parse(text)).prompt.text == text


@pytest.mark.parametrize(("only", "delimiter"), [("id;q", "';'"), ("id\tq", "tab"), ("id|q", "'|'")])
def test_a_template_without_its_field_names_the_delimiter_that_may_be_missing(only: str, delimiter: str):
    with pytest.raises(UsageError) as caught:
        decoder(template=Template.parse("{{ q }}")).decode(0, entry({only: "1;x"}, 1))
    assert caught.value.hint is not None and f"--delimiter {delimiter} may be missing" in caught.value.hint


def test_template_failure_stops_at_the_first_record_and_fails_a_later_one():
    decoding = decoder(template=Template.parse("{{ q }}"))
    with pytest.raises(UsageError, match="line 1: --template: the record has no field 'q'") as caught:
        decoding.decode(0, entry({"r": 1}, 1))
    assert caught.value.hint == "its fields are: r"
    assert isinstance(decoding.decode(1, entry({"r": 1}, 2)), InvalidRecord)
    with pytest.raises(UsageError, match="--system"):
        decoder(system=Template.parse("{{ q }}", "--system")).decode(0, entry({"prompt": "x"}))


def test_first_record_without_a_prompt_is_only_refused():
    assert isinstance(decoder().decode(0, entry({"q": 1})), InvalidRecord)


@pytest.mark.parametrize(("system", "expected"), [(None, "default"), ("own", "own"), ("", None)])
def test_system_fills_what_the_record_lacks(system, expected):
    record = {"prompt": "x"} if system is None else {"prompt": "x", "system": system}
    assert decode(record, system=Template.parse("default")).prompt.system == expected


def test_ids():
    for record, id_field, expected in [
        ({"id": "a", "custom_id": "b"}, None, "a"),
        ({"id": "", "custom_id": "b"}, None, "b"),
        ({"id": None}, None, None),
        ({"id": 0}, None, 0),
        ({"id": -(10**300)}, None, -(10**300)),
        ({"id": "🦉" * 5000}, None, "🦉" * 5000),
        ({"id": "a", "key": 7}, "key", 7),
        ({"id": "a"}, "key", None),
        ({"id": "a"}, "none", None),
    ]:
        decoded = decode({"prompt": "x", **record}, id_field=id_field)
        assert decoded.identity.id == expected
        assert ("id" in decoded.meta) == (id_field is not None and "id" in record)


def test_ids_of_different_types_or_equal_hashes_are_different():
    decoding = decoder()
    for index, id in enumerate([1, "1", 2**61, -1, -2, 2**64 + 1, "s1", "i1"]):
        assert isinstance(decoding.decode(index, entry({"id": id, "prompt": "x"})), Decoded), id


def test_repeated_id_is_refused_even_after_an_invalid_record():
    decoding = decoder()
    first = decoding.decode(0, entry({"id": "q", "prompt": 7}, 1))
    second = decoding.decode(1, entry({"id": "q", "prompt": "x", "row": 1}, 2))
    third = decoding.decode(2, entry({"id": "q", "prompt": "y"}, 3))
    assert isinstance(first, InvalidRecord)
    assert isinstance(second, InvalidRecord)
    assert isinstance(third, InvalidRecord)
    assert first.fault.kind is Kind.INVALID_RECORD
    assert second.fault.kind is third.fault.kind is Kind.DUPLICATE_ID
    assert second.fault.message == "line 2: the id 'q' was there before"
    assert third.fault.message == "line 3: the id 'q' was there before, 2 times"
    assert second.meta == {"row": 1}
    assert [one.identity.occurrence for one in (first, second, third)] == [0, 1, 2]


def test_too_many_repeated_ids_stop_the_run():
    decoding = decoder()
    for index in range(101):
        decoding.decode(index, entry({"id": 1, "prompt": str(index)}))
    with pytest.raises(InputError) as caught:
        decoding.decode(101, entry({"id": 1, "prompt": "x"}))
    assert "--id-field NAME" in (caught.value.hint or "")
    assert "none" in (caught.value.hint or "")


RECORD = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["x", "y", ""])},
    optional={"id": st.sampled_from([1, "1", "a", None, "", 1.5]), "row": st.integers(0, 2)},
) | st.sampled_from(["x", 7])


@given(st.lists(RECORD, max_size=40), st.sampled_from([None, "none", "row"]))
def test_numbering_equals_a_naive_model(records, id_field):
    decoding, counter = decoder(id_field=id_field), Counter()
    for index, record in enumerate(records):
        decoded = decoding.decode(index, entry(record))
        fields = {"prompt": record} if isinstance(record, str) else record
        id = fields.get(id_field or "id") if isinstance(fields, dict) and id_field != "none" else None
        if id == "" or isinstance(id, float):
            id = None
        name = (type(id), id) if id is not None else canonical(fields)
        assert decoded.identity == Identity(index, id, digest(canonical(fields)), counter[name])
        duplicate = isinstance(decoded, InvalidRecord) and decoded.fault.kind is Kind.DUPLICATE_ID
        assert duplicate == (id is not None and counter[name] > 0)
        counter[name] += 1


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3), max_size=12),
    st.lists(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2), min_size=1), max_size=5),
    st.randoms(use_true_random=False),
)
def test_identity_survives_other_key_orders_and_other_lines(
    records: list[dict[str, int]], others: list[dict[str, int]], luck: random.Random
):
    def names(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
        decoding = decoder()
        decoded = [decoding.decode(index, entry(json.loads(json.dumps(line)))) for index, line in enumerate(lines)]
        return [(one.identity.record, one.identity.occurrence) for one in decoded]

    before = [{"prompt": "p", **record} for record in records]
    after = [dict(luck.sample(list(record.items()), len(record))) for record in before]
    inserted = set()
    for other in others:
        line = {"prompt": "other", **other}
        after.insert(luck.randint(0, len(after)), line)
        inserted.add(digest(canonical(line)))
    assert names(before) == [name for name in names(after) if name[0] not in inserted]
