"""Pages of HTML from the templates in `pages`: everything is escaped, and each page is one file without scripts."""

from functools import cache
from typing import TYPE_CHECKING, Any

from llmbatch.core.printable import printable
from llmbatch.ui.units import duration

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["html_page"]


def html_page(template: str, **values: Any) -> bytes:
    """Fill in a template of the folder `pages`."""
    return _environment().get_template(f"{template}.html.jinja").render(values).encode("utf-8", "replace")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("llmbatch.ui", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "duration": duration, "lines": _lines}
    return environment


def _lines(text: str) -> str:
    """Make a text of several lines safe to show."""
    return "\n".join(printable(line, 2001) for line in text.split("\n"))
