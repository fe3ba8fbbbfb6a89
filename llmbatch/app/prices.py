"""Finds the price of a model: `--price`, or else genai-prices, imported only for a provider that it may list."""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmbatch.app.servers import is_own_machine
from llmbatch.core.errors import UsageError
from llmbatch.core.job import Job
from llmbatch.core.outcome import Usage
from llmbatch.core.prompt import RecordError
from llmbatch.core.settings import ModelSettings, StopSettings
from llmbatch.core.tally import ModelTally
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.providers import Preset
from llmbatch.pacing.cost import FlatPrice, Price, worst_case
from llmbatch.results.stats import amount

__all__ = ["ListPrice", "bound", "find_price", "saved_by_cache", "spent_before", "spent_in"]

_OTHER_NAMES = {
    "azure-classic": "azure",
    "bedrock": "aws",
    "gemini": "google",
    "moonshot": "moonshotai",
    "vertex": "google",
    "xai": "x-ai",
    "zhipu": "zhipuai",
}
"""Presets that have another name in genai-prices."""


class ListPrice:
    """The list prices of genai-prices, for a provider that it lists by name or by address."""

    def __init__(self, provider: str | None, address: str | None, discount: float | None = None) -> None:
        from genai_prices import Usage as Counts
        from genai_prices import calc_price

        self._counts, self._calc_price = Counts, calc_price
        self._whose: dict[str, Any] = {"provider_api_url": address} if address else {"provider_id": provider}
        self._unknown: set[str] = set()
        self._discount = discount
        """What a batch costs in parts of the live price, where the list has no price of its own for it."""

    def of(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        """Return what these tokens cost, cached ones at their own price; None when that is not known."""
        cost = self._listed(model, usage, terms)
        if terms.get("processing") != "batch" or cost is None:
            return cost
        live = self._listed(model, usage, {name: value for name, value in terms.items() if name != "processing"})
        if cost != live or not cost:
            return cost
        return None if self._discount is None else cost * self._discount

    def _listed(self, model: str, usage: Usage, terms: Mapping[str, str]) -> float | None:
        if model in self._unknown or (usage.input_tokens is None and usage.output_tokens is None):
            return None
        counts = self._counts(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        try:
            calculation = self._calc_price(counts, model, price_context=terms, **self._whose)
        except LookupError:
            self._unknown.add(model)
            return None
        except ValueError:  # counts that contradict each other, such as more cached tokens than tokens
            return None
        return float(calculation.total_price)


def find_price(model: ModelSettings, stop: StopSettings, provider: tuple[str, Preset]) -> Price | None:
    """Return the prices for a run, None when there are none. Raises UsageError when `--max-cost` needs them."""
    flat, address = model.price, next(iter(model.base_urls), None)
    if address is None and provider[1].base_url != PRESETS[provider[0]].base_url and provider[0] == "openai":
        address = provider[1].base_url  # OPENAI_BASE_URL
    price: Price | None = FlatPrice(*flat) if flat is not None else _list_price(*provider, address)
    if price is None and stop.has_ceiling:
        raise UsageError(
            f"{_flag(stop)} needs a price",
            "Give it as --price IN,OUT in US dollars per million tokens; the extra `prices` knows the usual providers.",
        )
    return price


def _flag(stop: StopSettings) -> str:
    return "--max-cost" if stop.max_cost is not None else "--max-run-cost"


def _list_price(name: str, preset: Preset, address: str | None) -> Price | None:
    if (preset.local if address is None else is_own_machine(address)) or find_spec("genai_prices") is None:
        return None
    from llmbatch.dialects.batch_apis import batch_api

    api = batch_api(name)
    discount = api.limits.discount if api is not None else None
    if address is not None:
        return ListPrice(None, address, discount)
    return ListPrice(_OTHER_NAMES.get(name, name), None, discount)


def bound(stop: StopSettings, price: Price | None) -> Callable[[Job], float] | None:
    """Return a function for the most that a job's request may cost; None without a ceiling.

    The function raises RecordError when that cannot be known.
    """
    if price is None or not stop.has_ceiling:
        return None

    def most(job: Job) -> float:
        worst = worst_case(price, job)
        if worst is None and job.token_cap is None:
            raise RecordError(f"{_flag(stop)} needs to know the longest answer", hint="Set it with --max-tokens N.")
        if worst is None:
            raise RecordError(
                f"{_flag(stop)} needs a price, and none is known for model {job.route.model!r}",
                hint="Give it as --price IN,OUT in US dollars per million tokens.",
            )
        return worst

    return most


def saved_by_cache(models: Mapping[str, ModelTally], price: Price | None) -> float | None:
    """Return how much less the tokens of these models cost than without a cache; None where no price tells."""
    saved = None
    for name, one in models.items():
        if price is None or not one.cached_input_tokens:
            continue
        paid = price.of(
            name,
            Usage(one.input_tokens, one.output_tokens, one.cached_input_tokens, one.cache_write_tokens or None),
            {},
        )
        plain = price.of(name, Usage(one.input_tokens, one.output_tokens), {})
        if paid is not None and plain is not None and paid != plain:  # a flat price knows no cache
            saved = (saved or 0.0) + plain - paid
    return saved


def spent_in(lines: Iterable[Mapping[str, Any]], price: Price) -> float:
    """Add up what result lines cost; those without a cost are priced by the tokens that they report."""
    spent = 0.0
    for line in lines:
        cost = amount(line.get("cost_usd"))
        if cost is None:
            cost = _priced(line, price)
        spent += cost or 0.0
    return spent


def spent_before(files: Iterable[Path], price: Price | None) -> float:
    """Add up what is in results files, those that are not there left out. Raises InputError."""
    from llmbatch.results.reader import open_results  # most runs have no other files

    spent = 0.0
    for path in files:
        if price is not None and path.exists():
            with open_results([str(path)]) as (file,):
                spent += spent_in(file.results(), price)
    return spent


def _priced(line: Mapping[str, Any], price: Price) -> float | None:
    usage, model = line.get("usage"), line.get("model")
    if not isinstance(usage, dict) or not isinstance(model, str):
        return None
    counts = (usage.get(name) for name in Usage._fields)
    return price.of(model, Usage(*(n if type(n) is int and 0 <= n < 2**53 else None for n in counts)), {})
