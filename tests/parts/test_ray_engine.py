"""Without Ray the engine names what to install; `make scale` tries the rest on a cluster."""

import sys

import pytest

from llmbatch.core.errors import ExitCode, UsageError
from llmbatch.parts.ray_engine import _connected


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs an extra") as caught:
        _connected(None)
    assert caught.value.exit_code == ExitCode.USAGE and "llmbatch[ray]" in (caught.value.hint or "")
