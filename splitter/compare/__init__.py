"""Two answers to one request compared: control is legacy's, candidate domain's, each an observation.

Owns: what differs, where and how; what of it is noise; what may be shown; the report that adds it up.
Must not know: sockets, clocks, randomness, who asked for the answers.
Invariants: the same two answers give the same result, whatever they hold; nothing a backend answers raises here, and
nothing makes memory grow without bound.
"""

from __future__ import annotations

from splitter.compare.answers import compare
from splitter.compare.counts import is_noise
from splitter.compare.differences import Difference, Differences, Kind
from splitter.compare.endpoint import EndpointNames
from splitter.compare.mask import Mask
from splitter.compare.observation import Observation
from splitter.compare.report import Context, Outcome, Report
from splitter.compare.rules import Rules
from splitter.compare.tally import Tally

__all__ = [
    "Context",
    "Difference",
    "Differences",
    "EndpointNames",
    "Kind",
    "Mask",
    "Observation",
    "Outcome",
    "Report",
    "Rules",
    "Tally",
    "compare",
    "is_noise",
]
