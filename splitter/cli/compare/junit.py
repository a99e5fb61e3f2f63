"""What was found, as JUnit XML: a test case for each step, for CI servers to show.

Owns: that format. Must not know: how anything was found.
Invariant: the file is well-formed XML whatever the sides answered; a difference is a failure, what could not be compared is
an error, what was not sent is skipped.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from splitter.cli.compare.findings import StepVerdict, Verdict
from splitter.cli.compare.told import Told
from splitter.compare import Kind
from splitter.compare.report import Row

# What XML 1.0 section 2.2 does not allow, not even as a reference.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(told: Told) -> bytes:
    """The file."""
    verdicts = list(told.findings.verdicts())
    suite = Element("testsuite", _clean({
        "name": f"splitter compare: {told.plan.title}",
        "tests": str(len(verdicts) + len(told.plan.skipped) + bool(told.findings.problems)),
        "failures": str(sum(each.verdict is Verdict.MISMATCH for each in verdicts)),
        "errors": str(sum(each.verdict is Verdict.FAILED for each in verdicts) + bool(told.findings.problems)),
        "skipped": str(len(told.plan.skipped)),
        "time": f"{told.duration_s:.3f}",
        "timestamp": told.started_at,
    }))  # fmt: skip
    rows = {(row.endpoint, row.path, row.kind): row for row in told.findings.mismatches()}
    for each in verdicts:
        _case(suite, told, each, rows)
    for request, why in told.plan.skipped:
        case = SubElement(suite, "testcase", _clean({"name": request, "classname": request, "time": "0"}))
        SubElement(case, "skipped", _clean({"message": why}))
    if told.findings.problems:
        case = SubElement(suite, "testcase", {"name": "the run itself", "classname": "splitter compare", "time": "0"})
        SubElement(case, "error", _clean({"message": told.findings.problems[0]})).text = _text(told.findings.problems)
    root = Element("testsuites")
    root.append(suite)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'.encode()


def _case(suite: Element, told: Told, each: StepVerdict, rows: dict[tuple[str, str, Kind], Row]) -> None:
    result = each.result
    case = SubElement(suite, "testcase", _clean({
        "name": result.title, "classname": result.endpoint, "time": f"{result.duration_s:.3f}",
    }))  # fmt: skip
    if each.mismatches:
        message = "; ".join(f"{path} {told.what(kind)}" for path, kind in each.mismatches)
        found = [rows.get((result.endpoint, *place)) for place in each.mismatches]  # None: the report had no room for it
        failure = SubElement(case, "failure", _clean({"type": "mismatch", "message": message}))
        failure.text = _text([told.row(row) for row in found if row is not None])
    if result.failures:
        lines = [f"{why} ({times} times)" for why, times in result.failures.items()]
        SubElement(case, "error", _clean({"type": "failed", "message": lines[0]})).text = _text(lines)


def _text(lines: list[str]) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", "\n".join(lines))


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {name: _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value) for name, value in attributes.items()}
