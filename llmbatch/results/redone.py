"""The newest line of each record in a redo file, found by record."""

import os
from array import array
from collections.abc import Iterable

from llmbatch.results.index import ResultIndex, flags_of
from llmbatch.results.lines import Line, key_fingerprint, name_of_line

__all__ = ["RedoneLines"]


class RedoneLines:
    """Where those lines are in the open file `fd`. Of several lines of one record the last one counts."""

    def __init__(self, fd: int, lines: Iterable[Line]) -> None:
        self.index = ResultIndex()
        self._fd = fd
        self._lengths = array("Q")
        for line in lines:
            if line.fields is None:
                continue
            key, flags = key_fingerprint(line.fields.get("key")), flags_of(line.fields)
            place = self.index.add(name_of_line(line.fields), key, line.offset, flags)
            if place is None:
                self._lengths.append(len(line.raw))
            else:
                self.index.replace(place, key, line.offset, flags)
                self._lengths[place] = len(line.raw)

    def __len__(self) -> int:
        return len(self.index)

    def find(self, name: int) -> int | None:
        """Return the place of a record's line, None if it has none."""
        return self.index.find(name)

    def offset(self, place: int) -> int:
        """Return where a line begins in the file."""
        return self.index.offset(place)

    def raw(self, place: int) -> bytes:
        """Read a line again, without its newline."""
        return os.pread(self._fd, self._lengths[place], self.index.offset(place))
