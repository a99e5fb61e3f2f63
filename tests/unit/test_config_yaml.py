"""Faulty text: what is no YAML, or YAML that would be read in two ways.

Each row: what is wrong, the file, every fault as it is told: source, line, dotted path, sentence.
"""

from __future__ import annotations

import itertools
import json

import pytest

from splitter.config import Config, parse
from splitter.errors import ConfigError

FAULTY: list[tuple[str, str, list[str]]] = [
    ("a list at the top", "- a\n- b", ["f.yaml:1: must be a mapping, with lines such as `rollout: ...`, not a list"]),
    ("a word at the top", "percent", ["f.yaml:1: must be a mapping, with lines such as `rollout: ...`, not a single value"]),
    (
        "a tab for indentation",
        "rollout:\n\tpercent: 10",
        ["f.yaml:2: a tab stands where blanks are wanted; YAML takes only blanks for indentation"],
    ),
    (
        "a quote that does not end",
        'rollout:\n  salt: "abc\n',
        ["f.yaml:3: not valid YAML: found unexpected end of stream, while scanning a quoted scalar"],
    ),
    (
        "a bracket that does not end",
        "rollout:\n  key: [client_ip\nlimits: {}\n",
        ["f.yaml:3: not valid YAML: expected ',' or ']', but got ':', while parsing a flow sequence"],
    ),
    (
        "a colon that is missing",
        "rollout:\n  percent: 10\n  force\n  salt: a\n",
        ["f.yaml:4: not valid YAML: here or on the line before, a colon or a closing quote or bracket is missing"],
    ),
    (
        "indentation that does not fit",
        "rollout:\n  percent: 10\n salt: a\n",
        ["f.yaml:3: not valid YAML: expected <block end>, but found '<block mapping start>', while parsing a block mapping"],
    ),
    (
        "a second document",
        "rollout: {}\n---\nrollout: {percent: 20}\n",
        ["f.yaml:2: a second document begins here (---); only one is read"],
    ),
    (
        "a key twice",
        "rollout:\n  percent: 10\n  force: off\n  percent: 20\n",
        ["f.yaml:4: rollout.percent: is there twice, first on line 2"],
    ),
    (
        "a section twice",
        "limits: {headers: 10}\nrollout: {}\nlimits: {headers: 20}\n",
        ["f.yaml:3: limits: is there twice, first on line 1"],
    ),
    (
        "a key twice, and both in JSON",
        '{"rollout": {"percent": 1, "percent": 2}}',
        ["f.yaml:1: rollout.percent: is there twice, first on line 1"],
    ),
    (
        "a merge key",
        "backends:\n  legacy: &a {max_connections: 3}\n  domain: {<<: *a}\n",
        ["f.yaml:3: backends.domain: merge keys (<<) are not part of YAML 1.2; write the keys out"],
    ),
    (
        "a tag of Python",
        "rollout:\n  salt: !!python/object/apply:os.system ['true']\n",
        ["f.yaml:2: rollout.salt: has the tag tag:yaml.org,2002:python/object/apply:os.system; tags are not used here"],
    ),
    (
        "a tag of one's own",
        "rollout: {percent: !secret abc}",
        ["f.yaml:1: rollout.percent: has the tag !secret; tags are not used here"],
    ),
    (
        "a tag that does not fit",
        "rollout: {percent: !!int ten}",
        ["f.yaml:1: rollout.percent: is no whole number that could be used"],
    ),
    ("a list as a key", "? [a, b]\n: c\n", ["f.yaml:1: has a list or a mapping as a key"]),
    ("an alias without an anchor", "rollout: {percent: *a}", ["f.yaml:1: not valid YAML: found undefined alias 'a'"]),
    (
        "an alias within itself",
        "rollout: &a {routes: [*a]}",
        ["f.yaml:1: holds more than 32 levels, aliases followed; no configuration needs that"],
    ),
    (
        "a character YAML does not allow",
        'rollout:\n  salt: "a\x07"\n',
        ["f.yaml:2: has the character U+0007, which YAML does not allow"],
    ),
    (
        "too many levels",
        "rollout: " + "[" * 40 + "]" * 40,
        ["f.yaml:1: holds more than 32 levels, aliases followed; no configuration needs that"],
    ),
    ("far too many levels", "rollout: " + "[" * 5000, ["f.yaml: is nested too deeply; at most 32 levels are read"]),
    (
        "a word where a number is, in JSON",
        '{"rollout": {"percent": "ten"}}',
        ['f.yaml:1: rollout.percent: must be a percent from 0 to 100, not "ten"'],
    ),
]


@pytest.mark.parametrize(("text", "faults"), [row[1:] for row in FAULTY], ids=[row[0] for row in FAULTY])
def test_every_fault_is_told_with_line_and_path(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text, "f.yaml", {})
    assert [str(fault) for fault in refused.value.faults] == faults


def test_an_alias_bomb_is_defused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise("abcdefghi")
    )
    with pytest.raises(ConfigError) as refused:
        parse(bomb, "f.yaml", {})
    assert "holds more than 20000 values, aliases followed" in str(refused.value)


def test_a_text_too_long_for_a_configuration_is_not_read() -> None:
    with pytest.raises(ConfigError) as refused:
        parse("# " + "x" * 300_000, "f.yaml", {})
    assert str(refused.value) == "f.yaml: is longer than 256 KiB; no such file needs that"


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "---\n", "--- {}\n...\n", "null", "{}", "\ufeff", "limits:", "limits: ~"]
)
def test_nothing_means_defaults(text: str) -> None:
    assert parse(text, "f.yaml", {}) == Config()


@pytest.mark.parametrize(
    ("written", "same_as"),
    [
        ("fallback: {on: [connect, 502]}", 'fallback: {"on": ["connect", "502"]}'),
        ("fallback:\n  on:\n    - timeout\n", "fallback: {on: [timeout]}"),
        ("rollout: {force: off}", 'rollout: {force: "off"}'),
        ("rollout: {use_domain_service: off}", "rollout: {use_domain_service: false}"),
        ("rollout: {use_domain_service: No}", "rollout: {use_domain_service: FALSE}"),
        ("rollout: {use_domain_service: 1}", "rollout: {use_domain_service: yes}"),
        ("rollout: {salt: 12:30}", 'rollout: {salt: "12:30"}'),
        ("rollout: {salt: 2025-10-31}", 'rollout: {salt: "2025-10-31"}'),
        ("rollout: {salt: yes}", 'rollout: {salt: "yes"}'),
        ("rollout: {percent: '10.25'}", "rollout: {percent: 10.25}"),
        ("rollout: {percent: 1e1}", "rollout: {percent: 10}"),
        ("rollout: {percent: 010}", "rollout: {percent: 10}"),
        ("limits: {headers: 0x10}", "limits: {headers: 16}"),
        ("limits: {headers: 0o10}", "limits: {headers: 8}"),
        ("limits: {body_bytes: null}", "limits: {}"),
        ("limits: {header_bytes: 65536}", "limits: {header_bytes: 64KiB}"),
        ("rollout: {routes: null, plan: ~}", "rollout: {routes: [], plan: []}"),
        ("rollout: {percent: !!int '20'}", "rollout: {percent: 20}"),
        ('{"rollout": {"percent": 20}}', "rollout:\n  percent: 20\n"),
        ("rollout:\r\n  percent: 20\r\n", "rollout:\n  percent: 20\n"),
        (
            "backends: {legacy: {health: &probes {interval: 1s}}, domain: {health: *probes}}",
            "backends: {legacy: {health: {interval: 1s}}, domain: {health: {interval: 1s}}}",
        ),
    ],
)
def test_nobody_is_surprised(written: str, same_as: str) -> None:
    assert parse(written, "f.yaml", {}) == parse(same_as, "f.yaml", {})


def test_a_key_nobody_can_print_stays_on_its_line() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(json.dumps({"a\nb": 1, "x" * 99: 2}), "f.yaml", {})
    assert [fault.path for fault in refused.value.faults] == [r'"a\nb"', f'"{"x" * 57}..."']


def test_the_words_on_and_off_stay_words() -> None:
    config = parse("fallback: {on: [reset]}\nrollout: {force: off, salt: on}", "f.yaml", {})
    assert (config.fallback.on, config.rollout.force, config.rollout.salt) == (("reset",), "off", "on")
