"""Prices: whose list, and what it makes of counts."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from genai_prices import Usage as Counts
from genai_prices import calc_price

from llmbatch.app.prices import ListPrice, bound, find_price, saved_by_cache, spent_in
from llmbatch.app.servers import find_preset
from llmbatch.core.errors import UsageError
from llmbatch.core.job import Identity, Job, Route
from llmbatch.core.outcome import Usage
from llmbatch.core.prompt import RecordError
from llmbatch.core.settings import ModelSettings, StopSettings
from llmbatch.core.tally import ModelTally
from llmbatch.pacing.cost import FlatPrice, Price


def price_of(provider: str | None = None, base_url: str | None = None) -> Price | None:
    base_urls = () if base_url is None else (base_url,)
    model = ModelSettings(provider=provider, base_urls=base_urls)
    return find_price(model, StopSettings(), find_preset(model, {}))


def job(model: str, cap: int | None) -> Job:
    return Job(Identity(0, None, "r"), "k", Route("/chat/completions", model), {}, {}, 10, cap)


def test_cached_tokens_and_tiers_have_their_own_price() -> None:
    price = price_of("openai")
    assert price is not None
    plain = price.of("gpt-4o", Usage(1000, 100), {})
    assert plain == float(
        calc_price(Counts(input_tokens=1000, output_tokens=100), "gpt-4o", provider_id="openai").total_price
    )
    cached = price.of("gpt-4o", Usage(1000, 100, cached_input_tokens=800), {})
    batch = price.of("gpt-4o", Usage(1000, 100), {"processing": "batch"})
    assert cached is not None and batch is not None and plain is not None
    assert cached < plain and batch == pytest.approx(plain / 2)


def test_counts_that_make_no_sense_have_no_price() -> None:
    price = price_of("openai")
    assert price is not None
    assert price.of("gpt-4o", Usage(), {}) is None
    assert price.of("gpt-4o", Usage(1, 1, cached_input_tokens=50), {}) is None
    assert price.of("no-such-model", Usage(1, 1), {}) is None


@pytest.mark.parametrize(
    "name", ["openai", "groq", "together", "xai", "mistral", "deepseek", "fireworks", "openrouter"]
)
def test_the_list_knows_the_preset(name: str) -> None:
    price = price_of(name)
    assert price is not None
    with pytest.raises(LookupError, match="no-such-model"):  # the model, not the provider
        price._calc_price(Counts(input_tokens=1), "no-such-model", **price._whose)  # type: ignore[attr-defined]


def test_an_address_is_known_by_its_host_and_ones_own_server_costs_nothing_anybody_knows() -> None:
    known = price_of(base_url="https://api.groq.com/openai/v1")
    assert known is not None and known.of("llama-3.1-8b-instant", Usage(1000, 0), {})
    elsewhere = price_of(base_url="https://gpu.example.com/v1")
    assert elsewhere is not None and elsewhere.of("gpt-4o", Usage(1000, 0), {}) is None
    assert price_of(base_url="http://127.0.0.1:8000/v1") is None
    assert price_of("vllm") is None
    assert price_of("mock") is None


def test_a_price_list_is_imported_only_where_it_may_help() -> None:
    code = (
        "import sys; from llmbatch.core.settings import *; from llmbatch.app.prices import find_price; "
        "from llmbatch.app.servers import find_preset; "
        "for_free, flat = ModelSettings(provider='mock'), ModelSettings(provider='openai', price=(1.0, 2.0)); "
        "[find_price(model, StopSettings(), find_preset(model, {})) for model in (for_free, flat)]; "
        "print('genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_ceiling_needs_a_price_and_the_longest_answer() -> None:
    stop = StopSettings(max_cost=1.0)
    ours, openai = ModelSettings(provider="mock"), ModelSettings(provider="openai")
    with pytest.raises(UsageError, match="--max-cost needs a price"):
        find_price(ours, stop, find_preset(ours, {}))
    most = bound(stop, find_price(openai, stop, find_preset(openai, {})))
    assert most is not None and most(job("gpt-4o", 100)) > 0
    with pytest.raises(RecordError, match="the longest answer"):
        most(job("gpt-4o", None))
    with pytest.raises(RecordError, match="none is known for model 'no-such-model'"):
        most(job("no-such-model", 100))


def test_lines_without_a_cost_are_priced_by_what_they_report() -> None:
    lines = [
        {"cost_usd": 0.25, "model": "m", "usage": {"input_tokens": 10**6}},
        {"model": "m", "usage": {"input_tokens": 10**6, "output_tokens": 10**6}},
        {"model": "m", "usage": {"input_tokens": -5, "output_tokens": "many"}},
        {"cost_usd": float("nan"), "model": None},
        {},
    ]
    assert spent_in(lines, FlatPrice(1.0, 2.0)) == pytest.approx(3.25)


def test_a_batch_has_its_listed_price_or_the_providers_discount_or_none_that_is_known() -> None:
    class Listed(ListPrice):
        def __init__(self, discount: float | None) -> None:
            super().__init__("openai", None, discount)

        def _listed(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
            live = {"listed": 8.0, "unlisted": 8.0}.get(model)
            return 3.0 if model == "listed" and terms.get("processing") == "batch" else live

    batch = {"processing": "batch"}
    assert [Listed(0.5).of(model, Usage(1, 1), batch) for model in ("listed", "unlisted", "none")] == [3.0, 4.0, None]
    assert [Listed(None).of(model, Usage(1, 1), batch) for model in ("listed", "unlisted")] == [3.0, None]
    assert Listed(0.5).of("unlisted", Usage(1, 1), {}) == 8.0


def test_what_a_cache_saves_is_known_where_its_tokens_have_a_price() -> None:
    models = {"m": ModelTally(ok=1, input_tokens=1000, output_tokens=10, cached_input_tokens=900)}

    class Half:
        def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float:
            return (usage.input_tokens or 0) - (usage.cached_input_tokens or 0) / 2

    assert saved_by_cache(models, Half()) == 450
    assert saved_by_cache(models, FlatPrice(1, 1)) is saved_by_cache(models, None) is None
    assert saved_by_cache({"m": ModelTally(input_tokens=5)}, Half()) is None
