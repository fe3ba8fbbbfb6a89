"""The corpus: what servers answered, as files, and the line that must come of each. The README beside it says how."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

_FIELDS = {
    "source",
    "endpoint",
    "provider",
    "records",
    "stream",
    "json",
    "include",
    "line",
    "lines",
    "without",
    "says",
    "again",
    "stops",
    "closes",
    "differs",
    "lanes",
}


@dataclass(frozen=True)
class Case:
    """An answer and what must come of it. `lines` holds one line for each record that the request asked for."""

    name: str
    answer: bytes
    source: str
    lines: tuple[dict[str, Any], ...]
    endpoint: str = "chat"
    provider: str | None = None
    stream: bool = False
    json: bool = False
    include: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()
    says: str | None = None
    again: int | str = 0
    stops: str = "record"
    closes: bool = False
    differs: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ("ours", "reference")

    @property
    def head_ends(self) -> int:
        """Where the body begins."""
        return self.answer.index(b"\r\n\r\n") + 4

    @property
    def whole_form(self) -> str | None:
        """The name of the same answer without streaming, if this one is a stream."""
        name = self.name.removesuffix(".stream")
        return name if name != self.name else None

    def problems(self, lines: Sequence[dict[str, Any]], again: int | str, stops: str) -> list[str]:
        """Say what is wrong with the lines that came, nothing when they are right."""
        if len(lines) != len(self.lines):
            return [f"{len(lines)} lines instead of {len(self.lines)}"]
        found = [
            problem
            for place, (line, expected) in enumerate(zip(lines, self.lines, strict=True))
            for problem in differences(line, expected, f"line {place}")
        ]
        found += [f"{name} is there: {line[name]!r}" for line in lines for name in self.without if name in line]
        message = (lines[0].get("error") or {}).get("message", "")
        if self.says is not None and self.says not in message:
            found.append(f"the message does not say {self.says!r}: {message!r}")
        if again != self.again:
            found.append(f"asked again: {again!r} instead of {self.again!r}")
        if stops != self.stops:
            found.append(f"stops {stops!r} instead of {self.stops!r}")
        return found


def differences(value: Any, expected: Any, where: str) -> list[str]:
    """Compare: of an object the fields that are expected, of anything else all."""
    if isinstance(expected, dict) and isinstance(value, dict):
        return [
            difference
            for name, inner in expected.items()
            for difference in (
                differences(value[name], inner, f"{where}.{name}") if name in value else [f"{where}.{name} is missing"]
            )
        ]
    if isinstance(expected, list) and isinstance(value, list) and len(value) == len(expected):
        return [
            difference
            for place, (one, other) in enumerate(zip(value, expected, strict=True))
            for difference in differences(one, other, f"{where}[{place}]")
        ]
    same = value == expected and type(value) is type(expected)
    return [] if same else [f"{where} is {value!r} instead of {expected!r}"]


def load(path: Path) -> Case:
    """Read a case: the answer at `path`, and its `.json`."""
    name = path.relative_to(HERE).as_posix().removesuffix(".http")
    spec = json.loads(path.with_suffix(".json").read_bytes())
    unknown = spec.keys() - _FIELDS
    assert not unknown, f"{name}.json: unknown fields {sorted(unknown)}"
    lines = spec.pop("lines") if "lines" in spec else [spec.pop("line")]
    assert spec.pop("records", len(lines)) == len(lines)
    spec["include"] = frozenset(spec.get("include", ()))
    if "lanes" in spec:
        spec["lanes"] = tuple(spec["lanes"])
    spec["without"], spec["differs"] = tuple(spec.get("without", ())), tuple(spec.get("differs", ()))
    spec.setdefault("stream", name.endswith(".stream"))
    return Case(name, path.read_bytes(), lines=tuple(lines), **spec)


CASES = {case.name: case for case in map(load, sorted(HERE.glob("*/*.http")))}
