"""The splitter's configuration in Envoy's words.

Owns: resources as plain data, in the JSON form of Envoy's protobuf messages; what of the configuration has no equal there.
Must not know: files, sockets, how an Envoy gets its resources.
Invariants: pure; a client is on the same side here and in `splitter.routing`; what can't be done alike is either refused by
name (`refusals`) or told (`differences`), never left out silently.
"""

from __future__ import annotations

from splitter.envoy.bootstrap import bootstrap
from splitter.envoy.support import differences, refusals
from splitter.envoy.words import is_address

__all__ = ["bootstrap", "differences", "is_address", "refusals"]
