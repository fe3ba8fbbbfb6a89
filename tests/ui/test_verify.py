"""The account of verify as a table."""

from collections import Counter

import pytest

from llmbatch.app.verify import Finding, Problem, Reconciliation
from llmbatch.ui.symbols import UNICODE
from llmbatch.ui.verify import reconciliation_text


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_is_told_with_its_examples(problem: Problem) -> None:
    account = Reconciliation(records=3, lines=3, problems=Counter({problem: 7}))
    examples = {problem: [Finding(problem, {"id": "q1", "index": 0})]}
    text = reconciliation_text(account, examples, 80, UNICODE).decode()
    assert text.startswith("✗ not complete · 7 ")
    assert f"{problem}: " in text and "q1" in text and "and 6 more" in text
