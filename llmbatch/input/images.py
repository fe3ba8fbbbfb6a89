"""Reads and checks the images and documents that the fields of a record name, and adds them to its prompt."""

import base64
import os
import stat
from collections.abc import Sequence
from typing import Any

from llmbatch.core.errors import UsageError
from llmbatch.core.prompt import Prompt, RecordError

__all__ = ["LARGEST", "Images", "is_media_file"]

LARGEST = 20 << 20
"""Bytes of one file: no provider takes more in a request."""

_URLS = ("http://", "https://", "data:")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"%PDF-", "application/pdf"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}
"""Brands in the header of an ISO media file, and the types that they stand for."""
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the second header of a bitmap. "BM" alone is no proof: many texts begin with it."""


class Images:
    """Adds the images that some fields name to prompts, in OpenAI's form, which every dialect translates.

    A field holds a path or an http(s) or data URL, or an array of them; none, null or "" is no image. Paths are below
    `root` and lead nowhere else, by `..` or by links. Raises UsageError when `root` is no folder.
    """

    def __init__(self, fields: Sequence[str], root: str | None) -> None:
        self.fields = fields
        self._root = os.path.realpath(root or ".")
        if not os.path.isdir(self._root):
            raise UsageError(f"--root {root}: no such folder", "Name the folder that the paths of --image lie below.")

    def add(self, prompt: Prompt, fields: dict[str, Any]) -> None:
        """Put the images of a record behind its text, or into its last message of the user. Raises RecordError."""
        parts = [self._part(name, source) for name in self.fields for source in _sources(name, fields.get(name))]
        if not parts:
            return
        if prompt.messages is not None:
            prompt.messages = _with_parts(prompt.messages, parts)
            return
        text = prompt.text if prompt.input is None else prompt.input
        if not isinstance(text, str):
            raise RecordError("an image goes with a prompt, a template or messages, not beside an input of items")
        prompt.text = prompt.input = None
        prompt.messages = [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]

    def _part(self, field: str, source: str) -> dict[str, Any]:
        if source.lower().startswith(_URLS):
            return {"type": "image_url", "image_url": {"url": source}}
        try:
            data = self._read(source)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordError(f"{field} {_shown(source)}: {reason}") from None
        type = _media_type(data)
        if type is None:
            raise RecordError(f"{field} {_shown(source)} is neither an image nor a PDF")
        url = f"data:{type};base64,{base64.b64encode(data).decode()}"
        if type == "application/pdf":
            return {"type": "file", "file": {"filename": os.path.basename(source), "file_data": url}}
        return {"type": "image_url", "image_url": {"url": url}}

    def _read(self, source: str) -> bytes:
        """Read a file below the root. Raises OSError, ValueError."""
        path = os.path.realpath(os.path.join(self._root, source))
        if os.path.commonpath([self._root, path]) != self._root:
            raise ValueError(f"leads out of --root {self._root}")
        # O_NONBLOCK: opening a FIFO must not wait for its writer. O_NOFOLLOW: `path` has no links any more.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a file")
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MiB")
        return data


def _sources(field: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    if not all(isinstance(each, str) and each for each in values):
        raise RecordError(f"{field} must hold a path or a URL, or an array of them, to be an image")
    return values


def _with_parts(messages: list[Any], parts: list[dict[str, Any]]) -> list[Any]:
    """Return a copy of the messages, with the parts at the end of the user's last one."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.get("role") == "user":
            content = message.get("content")
            own = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
            return [*messages[:index], {**message, "content": [*own, *parts]}, *messages[index + 1 :]]
    raise RecordError("there is no message of the user to put an image into")


def is_media_file(path: str | os.PathLike[str]) -> bool:
    """Say whether a path leads to a file that a record may name as an image."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return _media_type(file.read(64)) is not None
    except OSError:
        return False


def _media_type(data: bytes) -> str | None:
    """Return the type of a file by its first bytes; None when it is neither an image nor a PDF."""
    for signature, type in _SIGNATURES:
        if data.startswith(signature):
            return type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    bitmap = data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS
    return "image/bmp" if bitmap else None


def _shown(source: str) -> str:
    return repr(source if len(source) <= 200 else f"{source[:199]}…")
