"""Images by column: what each dialect makes of them, and which paths lead nowhere."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from llmbatch.core.errors import UsageError
from llmbatch.core.prompt import Prompt, RecordError
from llmbatch.dialects.presets import PRESETS
from llmbatch.dialects.request_options import Options
from llmbatch.dialects.router import Router
from llmbatch.input import images
from llmbatch.input.images import Images

PNG = b"\x89PNG\r\n\x1a\n and so on"
PDF = b"%PDF-1.7 and so on"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)
    (folder / "deep" / "b.pdf").write_bytes(PDF)
    (tmp_path / "secret.png").write_bytes(PNG)
    return folder


def added(root: Path, fields: dict[str, Any], prompt: Prompt | None = None) -> Prompt:
    asked = prompt or Prompt(text="what is it?")
    Images(("image",), str(root)).add(asked, fields)
    return asked


def data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_each_dialect_has_them_in_its_shape(root: Path) -> None:
    fields = {"image": ["a.png", "deep/b.pdf", "https://images.example/c.png"]}

    def content(endpoint: str) -> Any:
        dialect = Router(Options(model="m", max_tokens=9), PRESETS["openai"], endpoint)
        body = dialect.item(added(root, fields))[1]
        return (body.get("messages") or body.get("input") or body.get("contents"))[0]

    image, document = f"data:image/png;base64,{data(PNG)}", f"data:application/pdf;base64,{data(PDF)}"
    assert content("chat")["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "file", "file": {"filename": "b.pdf", "file_data": document}},
        {"type": "image_url", "image_url": {"url": "https://images.example/c.png"}},
    ]
    assert content("responses")["content"] == [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": image},
        {"type": "input_file", "filename": "b.pdf", "file_data": document},
        {"type": "input_image", "image_url": "https://images.example/c.png"},
    ]
    assert content("messages")["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data(PNG)}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data(PDF)}},
        {"type": "image", "source": {"type": "url", "url": "https://images.example/c.png"}},
    ]
    assert content("gemini")["parts"] == [
        {"text": "what is it?"},
        {"inlineData": {"mimeType": "image/png", "data": data(PNG)}},
        {"inlineData": {"mimeType": "application/pdf", "data": data(PDF)}},
        {"fileData": {"fileUri": "https://images.example/c.png"}},
    ]


@pytest.mark.parametrize("endpoint", ["embeddings", "completions"])
def test_an_endpoint_without_a_place_for_them_fails_the_record(root: Path, endpoint: str) -> None:
    dialect = Router(Options(model="m"), PRESETS["openai"], endpoint)
    with pytest.raises(RecordError):
        dialect.item(added(root, {"image": "a.png"}))


@pytest.mark.parametrize("fields", [{}, {"image": None}, {"image": ""}, {"image": []}])
def test_a_record_without_one_is_asked_as_ever(root: Path, fields: dict[str, Any]) -> None:
    assert added(root, fields) == Prompt(text="what is it?")


def test_messages_get_it_in_the_last_one_of_the_user(root: Path) -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
        {"role": "assistant", "content": "yes?"},
    ]
    asked = added(root, {"image": "a.png"}, Prompt(messages=messages))
    assert asked.messages is not None and len(asked.messages[1]["content"]) == 2
    assert asked.messages[0] is messages[0] and len(messages[1]["content"]) == 1
    with pytest.raises(RecordError, match="no message of the user"):
        added(root, {"image": "a.png"}, Prompt(messages=messages[2:]))


def test_the_type_is_in_the_bytes_and_not_in_the_name(root: Path) -> None:
    for content, type in (
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ):
        (root / "image.bin").write_bytes(content)
        asked = added(root, {"image": "image.bin"})
        assert asked.messages is not None
        assert asked.messages[0]["content"][1]["image_url"]["url"].startswith(f"data:{type};base64,")
    (root / "image.tiff").write_bytes(b"II*\0")
    assert "data:image/tiff" in str(added(root, {"image": "image.tiff"}).messages)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("missing.png", "No such file"),
        ("../secret.png", "leads out of --root"),
        ("deep/../../secret.png", "leads out of --root"),
        ("{outside}/secret.png", "leads out of --root"),
        ("link.png", "leads out of --root"),
        ("linked/secret.png", "leads out of --root"),
        ("loop.png", "symbolic links"),
        ("deep", "directory"),
        ("fifo.png", "not a file"),
        ("/dev/zero", "leads out of --root"),
        ("fake.png", "neither an image nor a PDF"),
        ("empty.png", "neither an image nor a PDF"),
        ("notes.txt", "neither an image nor a PDF"),
        ("large.png", "larger than"),
        ("file:///etc/passwd", "No such file"),
        ("a\0.png", "null"),
        (7, "must hold a path or a URL"),
        (["a.png", ""], "must hold a path or a URL"),
        ({"url": "x"}, "must hold a path or a URL"),
    ],
)
def test_what_is_no_image_below_the_root_fails_the_record(
    root: Path, given: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = root.parent
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "linked").symlink_to(outside)
    (root / "loop.png").symlink_to("loop.png")
    os.mkfifo(root / "fifo.png")
    (root / "fake.png").write_text("no image")
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("text")
    (root / "large.png").write_bytes(PNG + b"x" * 100)
    monkeypatch.setattr(images, "LARGEST", 50)
    given = given.replace("{outside}", str(outside)) if isinstance(given, str) else given
    with pytest.raises(RecordError, match=reason):
        added(root, {"image": given})


BITMAP = b"BM" + (70).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("name", "content", "type"),
    [
        ("x.bmp", BITMAP, "image/bmp"),
        ("x", BITMAP, "image/bmp"),
        ("x.png", b"II*\0....", "image/tiff"),
        ("photo", b"\0\0\0\x18ftypheic....", "image/heic"),
        ("photo.jpg", b"\0\0\0\x1cftypavif....", "image/avif"),
        ("x.bin", b"\0\0\0\x0cJXL \r\n\x87\n...", "image/jxl"),
    ],
)
def test_rarer_images_are_known_by_their_content(root: Path, name: str, content: bytes, type: str) -> None:
    (root / name).write_bytes(content)
    messages = added(root, {"image": name}).messages
    assert messages is not None
    url = messages[0]["content"][1]["image_url"]["url"]
    assert url == f"data:{type};base64,{data(content)}"


@pytest.mark.parametrize("name", ["x.bmp", "x.tiff", "x.heic", "x.ico", "x.svg", "x.png"])
@pytest.mark.parametrize("content", [b"BMW is a car", b"root:x:0:0", b"\0\0\0\x18ftypmp42....", b"<svg/>", b"BM"])
def test_a_name_makes_no_image(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(RecordError, match="neither an image nor a PDF"):
        added(root, {"image": name})


def test_links_and_absolute_paths_within_the_root_are_fine(root: Path) -> None:
    (root / "inner.png").symlink_to("a.png")
    for given in ("inner.png", str(root / "a.png"), "deep/../a.png"):
        assert data(PNG) in str(added(root, {"image": given}).messages)


def test_a_root_that_is_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        Images(("image",), str(tmp_path / "nowhere"))
