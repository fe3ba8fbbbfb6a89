"""Service tiers: in each provider's words, only where there are any, and as the answer names them."""

import json
from typing import Any

import pytest

from llmbatch.app.input import new_dialect
from llmbatch.core.exchange import Expected, Reply
from llmbatch.core.fault import Billing, Kind
from llmbatch.core.outcome import Completion
from llmbatch.core.prompt import Prompt
from llmbatch.core.settings import ModelSettings
from llmbatch.dialects.answer_reader import AnswerReader
from llmbatch.dialects.error_rules import ApiError, classify
from llmbatch.dialects.presets import PRESETS
from llmbatch.pacing.cost import answered_terms
from tests.support.scripted import job


def item(provider: str, tier: str, **fields: Any) -> dict[str, Any]:
    model = ModelSettings(provider=provider, model="m", tier=tier, max_tokens=5, **fields)
    return new_dialect(model, PRESETS[provider], None).item(Prompt(text="x"))[1]


@pytest.mark.parametrize(
    ("provider", "tier", "word"),
    [
        ("openai", "flex", "flex"),
        ("openai", "standard", "default"),
        ("groq", "standard", "on_demand"),
        ("xai", "priority", "priority"),
        ("anthropic", "standard", "standard_only"),
        ("anthropic", "priority", "auto"),
    ],
)
def test_a_tier_is_asked_for_in_the_words_of_its_provider(provider: str, tier: str, word: str) -> None:
    assert item(provider, tier)["service_tier"] == word


def test_what_a_record_says_of_its_tier_wins() -> None:
    assert item("openai", "flex", params={"service_tier": "auto"})["service_tier"] == "auto"


def test_only_endpoints_that_have_tiers_are_asked_for_one() -> None:
    dialect = new_dialect(ModelSettings(model="m", tier="flex"), PRESETS["openai"], None)
    prompt = Prompt(text=None, body={"model": "e", "input": "x"}, path="/embeddings")
    assert "service_tier" not in dialect.item(prompt)[1]


@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize(("named", "shown"), [("flex", "flex"), ("default", None), (None, None), (3, None)])
def test_the_line_shows_the_tier_that_the_answer_names_unless_it_is_the_usual_one(
    dialect: str, named: Any, shown: str | None
) -> None:
    body: dict[str, Any] = {"model": "m", "service_tier": named, "status": "completed"}
    body["choices"] = [{"message": {"content": "yes"}, "finish_reason": "stop"}]
    body["output"] = [{"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]
    (read,) = AnswerReader().read(Expected(dialect), Reply(200, {}, json.dumps(body).encode()))
    assert isinstance(read, Completion) and read.extra.get("service_tier") == shown


@pytest.mark.parametrize(
    ("asked", "answered", "terms"),
    [
        (None, None, {}),
        ("flex", "flex", {"service_tier": "flex"}),
        ("flex", None, {}),
        (None, "priority", {"service_tier": "priority"}),
    ],
)
def test_the_tier_of_the_answer_prices_it(asked: str | None, answered: str | None, terms: dict[str, str]) -> None:
    one = job(0)
    one.item |= {"service_tier": asked} if asked else {}
    extra = {"service_tier": answered} if answered else {}
    assert answered_terms(one, Completion("x", "stop", "m", None, extra=extra)) == terms


@pytest.mark.parametrize(
    ("error", "capacity"),
    [
        (ApiError(429, "Resource unavailable. Please try again later.", code="resource_unavailable"), True),
        (ApiError(429, "Flex: resources are unavailable"), True),
        (ApiError(498, "capacity exceeded", code="capacity_exceeded"), True),
        (ApiError(429, "Rate limit reached for requests per minute"), False),
        (ApiError(503, "overloaded"), False),
    ],
)
def test_a_tier_without_room_is_told_from_a_rate_limit(error: ApiError, capacity: bool) -> None:
    fault = classify(error, {})
    assert (fault.capacity, fault.billing, fault.retry) == (capacity, Billing.THROTTLED, True)
    assert not capacity or fault.kind is Kind.OVERLOADED
