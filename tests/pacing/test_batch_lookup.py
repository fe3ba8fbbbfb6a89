"""A batch whose creation was cut off: whatever the provider did, it is never created twice where its list tells."""

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.ticket import Proof, Sighting
from llmbatch.pacing.batch_lookup import Found, Lag, Verdict, decide

LAG = Lag(retry=120.0, hold=900.0)


def play(
    proof: Proof, made_at: float | None, lag: float, *, hold: bool, first_look: float, ended_after: float = 1e9
) -> tuple[Verdict, str | None, float]:
    """Look as often as the decisions ask for; the list shows a batch `lag` seconds after it was made."""
    now, empty = first_look, list[float]()
    for _ in range(5000):
        seen = []
        if made_at is not None and now >= made_at + lag:
            told = proof is Proof.LISTED or now >= made_at + ended_after
            seen.append(Sighting("b1", made_at, True if told else None))
        else:
            empty.append(now)
        after = decide(proof, Found(0.0, empty, seen), hold=hold, lag=LAG, now=now)
        if after.verdict is not Verdict.LOOK:
            return after.verdict, after.batch.batch if after.batch else None, now
        assert after.at > now
        now = after.at
    raise AssertionError("it looks for ever")


moments = st.floats(0, 2e6, allow_nan=False)


@given(st.booleans(), st.floats(0, 30), st.floats(0, 1), moments)
def test_a_listed_batch_that_is_there_is_adopted_as_long_as_its_list_lags_no_longer_than_the_looks(
    hold: bool, made_at: float, share: float, first_look: float
) -> None:
    lag = share * (LAG.hold if hold else LAG.retry) - made_at
    verdict, batch, _ = play(Proof.LISTED, made_at, max(0.0, lag), hold=hold, first_look=first_look)
    assert (verdict, batch) == (Verdict.ADOPT, "b1")


@given(st.booleans(), moments)
def test_a_listed_batch_that_is_not_there_is_created_again_after_three_looks_over_that_time(
    hold: bool, first_look: float
) -> None:
    verdict, _, at = play(Proof.LISTED, None, 0.0, hold=hold, first_look=first_look)
    assert verdict is Verdict.CREATE
    assert at >= (LAG.hold if hold else LAG.retry)


@given(st.booleans(), moments, st.floats(0, 90_000))
def test_where_only_rows_tell_a_candidate_is_awaited(hold: bool, first_look: float, ended_after: float) -> None:
    verdict, batch, _ = play(Proof.LATE, 1.0, 0.0, hold=hold, first_look=max(first_look, 2), ended_after=ended_after)
    assert (verdict, batch) == (Verdict.ADOPT, "b1")


@given(moments)
def test_where_nothing_tells_hold_holds_and_retry_creates_and_says_that_it_may_be_twice(first_look: float) -> None:
    assert play(Proof.LATE, None, 0.0, hold=True, first_look=first_look)[0] is Verdict.HOLD
    assert play(Proof.LATE, None, 0.0, hold=False, first_look=first_look)[0] is Verdict.CREATE_UNSURE


def test_of_two_batches_of_one_file_the_older_is_adopted_and_the_other_named() -> None:
    seen = [Sighting("later", 5.0, True), Sighting("first", 4.0, True)]
    after = decide(Proof.LISTED, Found(0.0, [], seen), hold=False, lag=LAG, now=9.0)
    assert after.batch is not None
    assert (after.verdict, after.batch.batch, after.more) == (Verdict.ADOPT, "first", ("later",))
