"""Templates: strict, sandboxed, and plain text when they have no markers."""

import subprocess
import sys

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.core.prompt import RecordError
from llmbatch.input.template import Template


def render(text: str, **fields: object) -> str:
    return Template.parse(text).render(fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q: {{ q }}", "Q: <b> & {{ x }}"),
        ('{"a": {b}} {c}', '{"a": {b}} {c}'),
        ("{% if n > 1 %}many{% else %}one{% endif %}", "many"),
        ("{{ row['a b'] }} {{ row.q }}", "odd <b> & {{ x }}"),
        ("{{ deep.items }} {{ deep.items[0] }}", "[1,2] 1"),
        ("{{ yes }} {{ nothing }} {{ deep }}", 'true null {"items":[1,2]}'),
        ("{{ n }} {{ ratio }}", "3 0.5"),
        ("{{ q | tojson }}", '"<b> & {{ x }}"'),
        ("{{ q | upper | length }}", "13"),
        ("{{ missing | default('none') }}", "none"),
        ("{% if missing is defined %}x{% endif %}y", "y"),
        ("{{ q }}\n", "<b> & {{ x }}"),
        ("plain\n", "plain"),
        ("{# note #}x", "x"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
    ],
)
def test_renders(text, expected):
    fields = {
        "q": "<b> & {{ x }}",
        "n": 3,
        "ratio": 0.5,
        "yes": True,
        "nothing": None,
        "a b": "odd",
        "deep": {"items": [1, 2]},
    }
    assert render(text, **fields) == expected


def test_record_may_have_a_field_called_row_or_self():
    assert render("{{ row }}", row=7) == "7"
    assert render("{{ row['self'] }}", self="x") == "x"


@pytest.mark.parametrize("name", ["a b", "Review text", "2nd", "score, 1 to 5"])
def test_a_name_that_jinja_cannot_read_is_answered_with_the_way_to_write_it(name: str):
    for text in (f"{{{{ {name} }}}}", f"{{{{{name}|upper}}}}"):
        with pytest.raises(UsageError) as caught:
            Template.parse(text)
        assert f"{{{{ row[{name!r}] }}}}" in str(caught.value.hint)


def test_a_name_that_jinja_takes_for_a_calculation_is_answered_with_the_way_to_write_it():
    with pytest.raises(RecordError) as caught:
        render("{{ review-text }}", **{"review-text": "x", "a b": 1})
    assert str(caught.value.hint).endswith("; {{ row['review-text'] }} is the field 'review-text'")


def test_missing_field_names_itself_and_the_fields_there_are():
    with pytest.raises(RecordError) as caught:
        render("{{ reviw }}", review="x", id=1)
    assert caught.value.message == "--template: the record has no field 'reviw'"
    assert caught.value.hint == "its fields are: review, id"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ q.__class__ }}",
        "{{ ''['__class__']['__base__'] }}",
        "{{ (q|attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(q) }}",
        "{{ range.__globals__ }}",
        "{{ range(10**9) | list }}",
        "{{ self.__init__.__globals__ }}",
        "{{ row.update({'q': 1}) }}",
        "{{ row.clear() }}",
        "{{ row.__init__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ lipsum }}",
        "{{ lipsum() }}",
        "{{ dict }}",
        "{{ range }}",
        "{{ q.upper }}",
        "{{ 1 // 0 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_escapes_and_accidents_fail_the_record_and_leave_it_alone(text):
    fields = {"q": "x"}
    with pytest.raises(RecordError) as caught:
        Template.parse(text).render(fields)
    assert caught.value.hint is not None
    assert fields == {"q": "x"}


@pytest.mark.parametrize("text", ["{{ q", "a\n{% if %}", "{% nosuchtag %}", "{{ q | nosuchfilter }}"])
def test_syntax_errors_are_usage_errors_with_a_line(text):
    with pytest.raises(UsageError, match=rf"--system, line {text.count(chr(10)) + 1}: "):
        Template.parse(text, "--system")


def test_template_from_a_file(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes("\ufeffÜ {{ q }}\n".encode())
    assert Template.parse(f"@{path}").render({"q": 1}) == "Ü 1"
    with pytest.raises(UsageError, match=r"--template: cannot read .*missing"):
        Template.parse(f"@{tmp_path}/missing")
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot read"):
        Template.parse(f"@{path}")


def test_text_without_markers_never_imports_jinja():
    code = (
        "import sys\n"
        "from llmbatch.input.decode import Decoder\n"
        "from llmbatch.app.input import check_strict\n"
        "from llmbatch.input.template import Template\n"
        "assert Template.parse('a {b}').render({}) == 'a {b}'\n"
        "assert 'jinja2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("text", ["", " \n", "@/dev/null"])
def test_a_template_without_any_text_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="is empty"):
        Template.parse(text)
    assert Template.parse(text, "--system").render({}).strip() == ""
