"""`--strict` finds problems before anything is sent."""

from pathlib import Path

import pytest

from llmbatch.app.input import check_strict
from llmbatch.core.errors import UsageError
from llmbatch.input.decode import Decoder
from llmbatch.input.occurrences import Occurrences
from llmbatch.input.template import Template


def check(path: Path, template: str | None = None, limit: int | None = None) -> list[str]:
    decoder = Decoder(
        params=frozenset(),
        id_field=None,
        meta="all",
        meta_fields=frozenset(),
        template=None if template is None else Template.parse(template),
        system=None,
        form=None,
        seen=Occurrences(),
        notice=lambda text: None,
    )
    return check_strict([str(path)], format=None, max_line=1000, decoder=decoder, limit=limit)


def test_good_files_have_no_problems(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":1,"prompt":"x"}\n' + b'"x"\n' * 1000)
    assert check(path) == []


def test_problems_of_every_kind_are_listed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id":1,"prompt":"x"}\n{\n{"id":1,"prompt":"x"}\n{"q":1}\n"' + b"x" * 1000 + b'"\n')
    assert check(path) == [
        "line 2 column 2: not JSON: unexpected end of data",
        "line 3: the id 1 was there before",
        "line 4: the record has no prompt; --template makes one of its fields",
        "line 5 column 1001: 1,002 bytes are more than --max-line 1,000",
    ]
    assert len(check(path, limit=3)) == 2


def test_ten_problems_are_enough(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'"x"\n' + b"{\n" * 500)
    assert len(check(path)) == 10


def test_template_that_fails_the_first_record_is_a_usage_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"q\nx\n")
    with pytest.raises(UsageError, match="row 2"):
        check(path, "{{ r }}")
