"""The presets on screens of any width."""

import pytest
from rich.cells import cell_len

from llmbatch.app.providers import providers
from llmbatch.ui.providers import providers_text
from llmbatch.ui.symbols import UNICODE


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_each_provider_has_one_line_that_fits(width: int) -> None:
    found = providers([], {"GROQ_API_KEY": "k"})
    head, *lines = providers_text(found, width, UNICODE).decode().splitlines()
    assert [line.split()[0] for line in lines] == [one.provider for one in found]
    assert all(cell_len(line) <= width for line in (head, *lines))
    groq = next(line for line in lines if line.startswith("groq "))
    if width >= 80:
        assert "GROQ_API_KEY" in groq and " set " in groq and "https://api.groq" in groq
