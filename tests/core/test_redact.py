"""Secrets cut out of text."""

import json
import time
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined]
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.redact import _SHAPES, LONGEST, MARK, SHORTEST, Redactor

A = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"

KEYS = [
    f"sk-ant-api03-{A}_-AA",
    f"sk-ant-admin01-{A}",
    f"sk-proj-{A}_-x",
    f"sk-svcacct-{A}",
    f"sk-admin-{A}",
    f"sk-None-{A}",
    f"sk-{A[:20]}T3BlbkFJ{A[:20]}",
    f"sk-or-v1-{A}{A}",
    f"sk-{A[:32]}",
    f"AIza{A[:35]}",
    f"AQ.{A}",
    f"ya29.{A}-_",
    f"gsk_{A}",
    f"xai-{A}",
    f"csk-{A}",
    f"hf_{A}",
    f"pplx-{A}",
    f"fw_{A[:16]}",
    f"tgp_v1_{A}-_",
    f"nvapi-{A}-_",
    "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", "Incorrect API key provided: {}.", "key={};", '{{"key":"{}"}}', "a\n{}\tb"])
def test_a_key_is_known_by_its_shape(key: str, around: str) -> None:
    assert Redactor()(around.format(key)) == around.format(MARK)


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_goes_with_its_word(word: str) -> None:
    assert Redactor()(f"authorization: {word} abc.def~12+/=") == f"authorization: {MARK}"


@pytest.mark.parametrize("name", ["key", "KEY", "api_key", "api-key", "apikey", "access_token"])
@pytest.mark.parametrize("sign", ["?", "&"])
def test_a_key_in_a_url_is_cut_out_and_the_rest_stays(name: str, sign: str) -> None:
    assert Redactor()(f"GET https://x/y{sign}{name}=s3cret&alt=1") == f"GET https://x/y{sign}{name}={MARK}&alt=1"


PROSE = [
    "The quick brown fox jumps over the lazy dog.",
    "a risk-assessment-of-everything-we-know-about-it",
    "task-force-of-the-ministry-of-magic and disk-usage-of-the-old-machine",
    "the bearer of bad news; bearer certificates; missing bearer authentication in header",
    "monkey=banana, tokens=12345678901234567890, keyboard",
    "sk- is a prefix, AIza is another, hf_ too",
    "https://example.com/path?page=2&sort=asc",
    "req_0123456789abcdefghij",
    "model accounts/fireworks/models/llama-v3p1-405b-instruct not found",
]


@pytest.mark.parametrize("text", PROSE)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor()(text) == text


@given(st.text('0123456789-_/+XYZ"\\', min_size=SHORTEST), st.text(), st.text())
def test_an_exact_secret_never_survives(secret: str, before: str, after: str) -> None:
    redact = Redactor([secret])
    for way in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/")):
        assert secret not in redact(before + way + after)
        if way not in before + after:
            assert way not in redact.exact(f"<{way}>")
            assert way.encode() not in redact.in_bytes(f"<{way}>".encode() + b"\xff")
            assert redact.finds(way.encode())


def test_a_placeholder_is_no_secret() -> None:
    assert Redactor(["EMPTY", "x"])("EMPTY text") == "EMPTY text"


def test_what_only_looks_like_a_key_stays_in_what_is_data() -> None:
    assert Redactor(["s3cret"]).exact(f"s3cret {KEYS[0]}") == f"{MARK} {KEYS[0]}"


def test_a_key_that_contains_another_is_cut_out_whole() -> None:
    assert Redactor(["abcdef", "abcdefgh", ""])("x abcdefgh y abcdef z") == f"x {MARK} y {MARK} z"


PIECES = [
    "-eyJ",
    " eyJ",
    ".eyJaaaaaaaa",
    "eyJaaaaaaaa.",
    "-eyJaaaaaaaa.aaaaaaaa",
    "sk-",
    "-sk-ant-api03-",
    "sk-proj-a",
    "AIza",
    "-AQ.",
    "ya29.",
    "gsk_",
    "hf_a",
    "tgp_v1_",
    "nvapi-",
    "bearer ",
    "bearer\t",
    "bearer =",
    "Bearer a",
    "?key=",
    "&api_key=a",
    " ",
    "\n",
    "-",
    ".",
    "a",
    "=",
    "?",
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("start", ["", "eyJ", "bearer", "sk-a"])
def test_no_pattern_takes_long_whatever_is_repeated(piece: str, start: str) -> None:
    text = start + piece * (LONGEST // len(piece))
    began = time.process_time()
    Redactor(["a-secret-of-ours"])(text[:LONGEST])
    assert time.process_time() - began < 0.25


def texts_of(pattern: Iterable[tuple[Any, Any]]) -> set[str]:
    """Return a short text for each alternative of a parsed pattern, with what must stand before it."""
    texts = {""}
    for kind, what in pattern:
        match str(kind), what:
            case "LITERAL", code:
                ends = {chr(code)}
            case "IN", [(_, category), *_] if str(category) == "CATEGORY_SPACE":
                ends = {" "}
            case "IN", [(_, (low, _)), *_]:
                ends = {chr(low)}
            case "IN", [(_, code), *_] if isinstance(code, int) and str(what[0][0]) == "LITERAL":
                ends = {chr(code)}
            case (("IN" | "ANY" | "NOT_LITERAL"), _):
                ends = {"a"}
            case "BRANCH", (_, choices):
                ends = set().union(*map(texts_of, choices))
            case "SUBPATTERN", (*_, inner):
                ends = texts_of(inner)
            case (("MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT"), (least, _, inner)):
                ends = {text * least for text in texts_of(inner)}
            case "ASSERT", (-1, inner):
                ends = texts_of(inner)
            case _:
                ends = {""}
        texts = {text + end for text in texts for end in ends}
    return texts


SHAPES = sorted(texts_of(_parser.parse(_SHAPES.pattern, _SHAPES.flags)))


def test_each_shape_has_a_text() -> None:
    assert len(SHAPES) >= 17 and all(MARK in Redactor()(text + "0" * 20) for text in SHAPES)


@pytest.mark.parametrize("text", SHAPES)
def test_no_shape_takes_long_when_its_beginning_is_repeated(text: str) -> None:
    redact, began = Redactor(), time.process_time()
    for before in ("", "-", " "):
        for piece in {text[:4], text[:-1]}:
            redact((before + piece) * (LONGEST // len(before + piece)))
    assert time.process_time() - began < 0.25


def test_of_a_text_beyond_measure_the_beginning_stays() -> None:
    shown = Redactor()("x" * (LONGEST + 1500))
    assert shown == "x" * LONGEST + "… (1,500 more characters)"


def test_a_secret_is_found_in_a_body_in_every_way_it_may_be_written() -> None:
    redact = Redactor(["a/secret=1"])
    assert redact.finds(b'{"x":"a/secret=1"}') and redact.finds(b"a%2Fsecret%3D1") and redact.finds(b"a\\/secret=1")
    assert not redact.finds(b"a secret")
