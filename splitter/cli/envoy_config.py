"""`splitter envoy-config`: the configuration as one for Envoy, with every client on the side where it is.

Owns: where the percents come from, how the file looks, how refusals and differences are told.
Must not know: what stands in a resource.
Invariant: nothing is printed for a configuration that Envoy can't carry out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import yaml

from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.source import USAGE_STATUS, config_option, read_config, tell_faults
from splitter.cli.target import find_target
from splitter.cli.words import Json
from splitter.config import Config, TcpAddress
from splitter.config.addresses import split_host_port
from splitter.control.table import table_of
from splitter.envoy import bootstrap, differences, is_address, refusals
from splitter.state import GLOBAL, InForce, Value

_RUNNING: Final = "running"
_FAILED_STATUS: Final = 1


class _EnvoyAdmin(click.ParamType[TcpAddress]):
    name = "ADDRESS:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> TcpAddress:
        if isinstance(value, TcpAddress):
            return value
        try:
            host, port = split_host_port(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if port is None or not is_address(host):
            self.fail(f"must be an address and a port, such as 127.0.0.1:9901, not {value}", param, ctx)
        return TcpAddress(host, port)


@click.command("envoy-config")
@config_option
@click.option("--as-running", is_flag=True, help="With the percents and switches in force in the running splitter.")
@click.option("--admin", metavar="URL", help="The running splitter's admin API, for --as-running.")
@click.option("--token", metavar="TOKEN", help="The admin token (better: SPLITTER_ADMIN_TOKEN).")
@click.option(
    "--envoy-admin",
    type=_EnvoyAdmin(),
    default="127.0.0.1:9901",
    show_default=True,
    help="Where Envoy's own admin endpoint is to listen.",
)
def envoy_config(
    config_file: Path | None, *, as_running: bool, admin: str | None, token: str | None, envoy_admin: TcpAddress
) -> None:
    """Print the configuration of an Envoy that puts every client on the side where the splitter has it.

    Without --as-running: what file and environment say. What Envoy does in another way stands in comments at the top; a
    setting that it has no equal to is refused by its name. Exit status 2 if there is one, 1 if the running splitter does not
    tell.
    """
    if (admin or token) and not as_running:
        raise click.UsageError("--admin and --token go with --as-running")
    config, path = read_config(config_file)
    faults = refusals(config)
    if faults:
        tell_faults(faults)
        raise SystemExit(USAGE_STATUS)
    now = _in_force(config, admin, token) if as_running else None
    source = f"{path or 'defaults and environment'}" + (", with what was in force" if as_running else "")
    head = [f"Made by `splitter envoy-config` of {source}.", "Not as in the splitter:"]
    head += [f"- {sentence}" for sentence in differences(config)]
    click.echo("\n".join(f"# {line}" for line in head))
    resources = bootstrap(config, table_of(config, now), envoy_admin)
    click.echo(yaml.dump(resources, Dumper=_Dumper, sort_keys=False, width=10_000), nl=False)


def _in_force(config: Config, admin: str | None, token: str | None) -> InForce:
    """What the running splitter has in force. Ends the program if it does not say, or runs other routes."""
    target = find_target(admin, token)
    try:
        found = ask(target, "GET", ROLLOUT)
    except (UnreachableError, RefusedError) as error:
        raise Terminal(as_json=False).fail(target, error) from None
    ours = {route.name for route in config.rollout.routes}
    if set(found["routes"]) != ours:
        click.echo(
            f"{target} runs other routes than this configuration has: {_list(found['routes'])}, not {_list(ours)}", err=True
        )
        raise SystemExit(_FAILED_STATUS)
    percents = {GLOBAL: found["percent"], **found["routes"]}
    return InForce(
        _value(found["use_domain_service"]),
        _value(found["rolled_back"]),
        {name: _value(told) for name, told in percents.items()},
    )


def _value(told: Json) -> Value:
    return Value(told["value"], _RUNNING)


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: what is the same in two places is still two things to whoever edits the file."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
