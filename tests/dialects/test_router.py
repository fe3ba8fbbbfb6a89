"""Which dialect a record is put in, and where it goes."""

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.core.job import Route
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.providers import ENDPOINTS, OWN_SERVER, Preset
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def spoken(endpoint: str = "chat", preset: Preset = OWN_SERVER) -> Router:
    return Router(Options(model="m"), preset, endpoint)


def test_a_record_that_names_no_path_goes_to_the_endpoint_of_the_run() -> None:
    for name, endpoint in ENDPOINTS.items():
        route, _ = spoken(name).item(Prompt(text="hi"))
        assert route == Route(endpoint.path.replace("{model}", "m"), "m", spoken(name).name)


def test_a_path_of_ones_own_is_asked_as_it_stands_also_by_lines_for_its_kind() -> None:
    path = "/v7/chat/completions?api-version=1"
    dialect = spoken(path)
    assert dialect.item(Prompt(text="hi"))[0] == Route(path, "m", "chat")
    assert dialect.item(Prompt(body=BODY, path=path))[0].path == path
    assert dialect.item(Prompt(body=BODY, path="/chat/completions"))[0].path == path


def test_a_batch_line_of_an_unknown_path_is_refused_with_the_flag_that_sends_it() -> None:
    with pytest.raises(RecordError, match="--endpoint /moderations"):
        spoken().item(Prompt(body=BODY, path="/moderations"))


def test_the_model_may_stand_in_the_path_where_nothing_of_it_ends_the_path() -> None:
    preset = Preset(base_url="", path="/deployments/{model}{endpoint}?api-version=2")
    dialect = Router(Options(model="a?b#c é"), preset, "chat")
    path = "/deployments/a%3Fb%23c%20%C3%A9/chat/completions?api-version=2"
    assert dialect.item(Prompt(text="hi"))[0] == Route(path, "a?b#c é", "chat")
    assert dialect.item(Prompt(body=BODY, path="/chat/completions"))[0].path == path


PATHS = [
    "gemini",
    "/deployments/{model}/chat/completions",
    "/x/{model}/messages",
    "/models/{model}",
    "/{model}/embeddings",
]


@pytest.mark.parametrize("endpoint", PATHS)
@pytest.mark.parametrize(
    "model",
    [
        "../../admin/keys",
        "a/../../v1/files",
        "./x",
        "..",
        ".",
        "x/..;/y",
        "..\\..\\x",
        "%2e%2e/x",
        "..%2fx",
        "%252e%252e",
    ],
)
def test_no_model_leads_out_of_the_path(endpoint: str, model: str) -> None:
    with pytest.raises(RecordError, match="cannot stand in the path"):
        spoken(endpoint).item(Prompt(text="hi", model=model))


@pytest.mark.parametrize("endpoint", PATHS)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_a_model_is_one_segment_of_the_path(endpoint: str, model: str) -> None:
    template = ENDPOINTS["gemini"].path if endpoint == "gemini" else endpoint
    try:
        route, _ = spoken(endpoint).item(Prompt(text="hi", model=model))
    except RecordError:
        return
    if endpoint == "gemini" and model.startswith("tunedModels/"):
        return
    before, _, after = template.partition("{model}")
    assert route.path.startswith(before) and route.path.endswith(after)
    segment = route.path.removeprefix(before).removesuffix(after)
    assert not set(segment) & set("/\\?#; \n")
    assert unquote(segment) in (model, model.removeprefix("models/"))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/m", "/models/m:generateContent"),
        ("tunedModels/my-own-1", "/tunedModels/my-own-1:generateContent"),
        ("tunedModels/a/b", "/tunedModels/a%2Fb:generateContent"),
        ("tunedModels/", "/models/tunedModels%2F:generateContent"),
        ("files/x", "/models/files%2Fx:generateContent"),
    ],
)
def test_a_model_of_gemini_may_be_named_with_its_collection(model: str, path: str) -> None:
    assert spoken("gemini").item(Prompt(text="hi", model=model))[0].path == path


@pytest.mark.parametrize("model", ["tunedModels/..", "tunedModels/../models", "tunedModels/%2e%2e", "models/.."])
def test_no_collection_leads_out_of_the_path(model: str) -> None:
    with pytest.raises(RecordError, match="cannot stand in the path"):
        spoken("gemini").item(Prompt(text="hi", model=model))
