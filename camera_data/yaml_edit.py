"""Change one camera in a YAML text and leave every other character alone.

Owns: where in the text a value stands. Must not know: files, locks, what a field means.
Invariant: the new text says what was wanted and nothing else. It is read again and compared; a text that is too
unusual to be edited in place (anchors, merge keys, tags) is written anew, and then only the comments at its head remain.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")  # no quotes needed, if it does not read as something else


def with_fields(text: str, camera_id: str, fields: dict[str, Any]) -> str:
    """The text with other values for some fields of a camera that is there."""
    wanted = yaml.safe_load(text)
    entries = wanted["cameras"]
    position = next(index for index, entry in enumerate(entries) if entry.get("id") == camera_id)
    entries[position].update(fields)
    return _checked(_try(lambda: _changed(text, position, fields)), wanted, text)


def with_camera(text: str, fields: dict[str, Any]) -> str:
    """The text with one more camera, as the last."""
    wanted = yaml.safe_load(text)
    wanted["cameras"].append(fields)
    return _checked(_try(lambda: _appended(text, fields)), wanted, text)


def without_camera(text: str, camera_id: str) -> str:
    """The text without this camera."""
    wanted = yaml.safe_load(text)
    entries = wanted["cameras"]
    position = next(index for index, entry in enumerate(entries) if entry.get("id") == camera_id)
    del entries[position]
    return _checked(_try(lambda: _removed(text, position)), wanted, text)


def _try(edit: Any) -> str | None:
    try:
        result: str | None = edit()
    except (LookupError, TypeError, AttributeError, ValueError):  # not laid out as expected
        return None
    return result


def _checked(edited: str | None, wanted: Any, text: str) -> str:
    if edited is not None:
        try:
            if _same(yaml.safe_load(edited), wanted):
                return edited
        except yaml.YAMLError:
            pass  # an edit that broke the text is no edit
    head = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*", text)
    fresh = yaml.safe_dump(copy.deepcopy(wanted), sort_keys=False, allow_unicode=True, width=120)
    return (head.group() if head else "") + fresh


def _same(left: Any, right: Any) -> bool:
    """Equal, and of equal types: 1, 1.0 and true are equal to Python."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _entries(text: str) -> yaml.SequenceNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # the loader in Python: its marks count characters
    if not isinstance(root, yaml.MappingNode):
        raise TypeError("not a mapping")
    node = next(value for key, value in root.value if key.value == "cameras")
    if not isinstance(node, yaml.SequenceNode):
        raise TypeError("cameras is not a list")
    return node


def _changed(text: str, position: int, fields: dict[str, Any]) -> str:
    entry = _entries(text).value[position]
    spots = {key.value: value for key, value in entry.value}
    edits = [
        (spots[name].start_mark.index, spots[name].end_mark.index, _scalar(value))
        for name, value in fields.items()
        if name in spots
    ]
    last_key, last = entry.value[-1]
    new = [f"{name}: {_scalar(value)}" for name, value in fields.items() if name not in spots]
    if new and entry.flow_style:
        edits.append((last.end_mark.index, last.end_mark.index, ", " + ", ".join(new)))
    elif new:
        end = _end_of_line(text, _end_of_content(last))
        pad = " " * last_key.start_mark.column
        edits.append((end, end, "".join(f"\n{pad}{line}" for line in new)))
    for start, end, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def _appended(text: str, fields: dict[str, Any]) -> str:
    node = _entries(text)
    if node.flow_style:
        raise ValueError("a list in brackets")
    last = node.value[-1]
    dash = _dash(text, last)
    pad = " " * (dash - (text.rfind("\n", 0, dash) + 1))
    lines = [f"{name}: {_scalar(value)}" for name, value in fields.items()]
    block = f"{pad}- " + f"\n{pad}  ".join(lines)
    end = _end_of_line(text, _end_of_content(last))
    return f"{text[:end]}\n{block}{text[end:] or chr(10)}"


def _removed(text: str, position: int) -> str:
    node = _entries(text)
    if node.flow_style or len(node.value) == 1:
        raise ValueError("not a block of several")
    entry = node.value[position]
    start = text.rfind("\n", 0, _dash(text, entry)) + 1
    end = _end_of_line(text, _end_of_content(entry))
    return text[:start] + text[end + 1 :]


def _dash(text: str, entry: yaml.Node) -> int:
    dash = text.rindex("-", 0, entry.start_mark.index)
    if text[dash + 1 : entry.start_mark.index].strip():
        raise ValueError("a comment or a tag after the dash")
    return dash


def _end_of_content(node: yaml.Node) -> int:
    """A block ends for the parser where the next begins; its content ends with its last value."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end_of_content(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end_of_content(node.value[-1])
    end: int = node.end_mark.index
    return end


def _end_of_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
        return value if plain else json.dumps(value, ensure_ascii=not value.isprintable())
    return json.dumps(value)
