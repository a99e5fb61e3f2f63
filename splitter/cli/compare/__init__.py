"""`splitter compare`: both sides are asked the same, and what they answer is compared.

Owns: the parts of this command. Must not know: anything of the planes; what is a difference is `splitter.compare`'s.
Invariant: only what a list of requests says, or `--unsafe` allows, changes anything on either side.
"""

from __future__ import annotations

from splitter.cli.compare.command import compare

__all__ = ["compare"]
