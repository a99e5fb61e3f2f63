"""Kinds of values about files: their names, who may use them, the versions of what is read from them.

Owns: reading these from text and writing them as text. Must not know: the schema; no file is opened here.
Invariant: `read(show(value)) == value`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final, Literal

from splitter.config.kinds import NO_VALUE, Kind, shown

_OCTAL: Final = re.compile(r"0?[0-7]{3}")


class FilePath(Kind[Path]):
    """A file, from the working directory when it is relative."""

    words = "path of a file"

    def read(self, given: object) -> Path:
        text = self.text(given, "must be the path of a file")
        if "\0" in text or text.endswith("/"):
            raise ValueError(f"is no path of a file: {shown(text)}")
        return Path(text)

    def show(self, value: Path) -> str:
        return json.dumps(str(value), ensure_ascii=False)


class FileMode(Kind[int]):
    """Permissions as chmod(1) takes them. In quotes, since YAML 1.2 reads 0660 as six hundred and sixty."""

    words = 'mode in quotes, such as `"0660"`'

    def read(self, given: object) -> int:
        if given is None:
            raise ValueError(NO_VALUE)
        if isinstance(given, int) and not isinstance(given, bool):
            raise ValueError(f'needs quotes, as in "0660": without them {given} is a plain number')
        if not isinstance(given, str) or not _OCTAL.fullmatch(given):
            raise ValueError(f'must be a mode such as "0660", not {shown(given)}')
        return int(given, 8)

    def show(self, value: int) -> str:
        return f'"{value:04o}"'


class TlsVersion(Kind[Literal["1.2", "1.3"]]):
    """A version of TLS; as a number too, since that is how one writes it without thinking."""

    words = "`1.2` or `1.3`"

    def read(self, given: object) -> Literal["1.2", "1.3"]:
        if given is None:
            raise ValueError(NO_VALUE)
        if not isinstance(given, bool):
            if str(given) == "1.2":
                return "1.2"
            if str(given) == "1.3":
                return "1.3"
        raise ValueError(f"must be 1.2 or 1.3, not {shown(given)}")

    def show(self, value: Literal["1.2", "1.3"]) -> str:
        return f'"{value}"'
