"""Python values as JSON: what has no type there is text, the same in every process, or flawed."""

from collections.abc import Iterator

import pytest

from llmbatch.input.plain import plain_entry


class Backwards(set[str]):
    """A set in the order of another process."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__(), reverse=True))


def test_a_set_is_a_list_in_an_order_of_its_own() -> None:
    assert plain_entry("", {"x": Backwards("abc")}).value == plain_entry("", {"x": {*"cab"}}).value == {"x": [*"abc"]}


@pytest.mark.parametrize("make", [object, lambda: lambda: None, lambda: [object()], lambda: {"y": iter("")}])
def test_what_has_no_text_but_its_address_is_flawed_and_the_same_every_time(make: object) -> None:
    kept = [make() for _ in range(2)]  # type: ignore[operator]  # at two addresses
    one, two = (plain_entry("", {"x": value, "prompt": "p"}) for value in kept)
    assert one.value == two.value and one.flaws is not None and "no type" in one.flaws["x"]
