"""What both services agree on with their clients: the shape of an error, the id of a request, what counts as JSON.

Owns: these three. Must not know: any path, any field.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from camera_data.errors import BodyError

REQUEST_ID_HEADER = "X-Request-Id"
_USABLE_ID = re.compile(r"[!-~]{1,128}")

request_id: ContextVar[str] = ContextVar("request_id")


def request_id_of(headers: Mapping[str, str]) -> str:
    """The id the client or a proxy gave, else a new one. What could break a log line is not taken over."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex


def error_document(code: str, message: str) -> dict[str, dict[str, str]]:
    """The JSON of every answer that is an error, for the request that is being answered."""
    return {"error": {"code": code, "message": message, "request_id": request_id.get("")}}


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; none at all counts as an empty one. Raises BodyError.

    Stricter than Python: no NaN, no number that becomes infinite, no key twice, no half of a surrogate pair. What one
    reader takes for this and another for that must not pass.
    """
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_key_twice)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BodyError("the body has half of a surrogate pair") from None
    except UnicodeDecodeError:
        raise BodyError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except ValueError as error:  # int() of more digits than Python takes
        raise BodyError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BodyError("the body must be a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise BodyError(f"the body is not JSON: {name}")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BodyError(f"the body has a number that is too large: {digits[:40]}")
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise BodyError(f"the body has {twice!r} twice")
    return found
