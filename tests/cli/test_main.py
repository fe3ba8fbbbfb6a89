"""What an end without a result means as an exit code."""

import pytest

from llmbatch.cli import main
from llmbatch.core.errors import ExitCode


@pytest.mark.parametrize(
    "end", [KeyboardInterrupt(), RuntimeError("Event loop stopped before Future completed.")], ids=["Python", "uvloop"]
)
def test_an_interrupt_that_stops_the_event_loop_is_no_bug(end: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(*args: object, **options: object) -> None:
        raise end

    monkeypatch.setattr(main, "app", app)
    assert main.run_to_code() == ExitCode.INTERRUPT
