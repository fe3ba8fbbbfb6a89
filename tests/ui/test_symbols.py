"""Which characters a terminal can show."""

import pytest

from llmbatch.ui.symbols import ASCII, UNICODE, symbols_for


@pytest.mark.parametrize(
    "environ", [{"LANG": "en_US.UTF-8"}, {"LC_ALL": "C.utf8", "LANG": "C"}, {"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}]
)
def test_a_locale_of_utf_8_has_all_of_them(environ: dict[str, str]) -> None:
    assert symbols_for(environ) is UNICODE


@pytest.mark.parametrize(
    "environ", [{}, {"LANG": "C"}, {"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, {"LC_CTYPE": "C.UTF-8"}]
)
def test_any_other_locale_has_ascii(environ: dict[str, str]) -> None:
    # The last one is what CPython itself sets where the locale is C.
    assert symbols_for(environ) is ASCII


def test_what_stands_for_them_is_ascii() -> None:
    assert all(text.isascii() for text in ASCII)
