"""One Envoy that needs nobody: its whole configuration in one file.

Owns: the top of that file. Must not know: what a resource says.
"""

from __future__ import annotations

from splitter.config import Config, TcpAddress
from splitter.envoy.clusters import clusters
from splitter.envoy.listener import listener
from splitter.envoy.words import Json
from splitter.routing import Table


def bootstrap(config: Config, table: Table, admin: TcpAddress) -> Json:
    """An Envoy that decides by `table`. `admin` is where its own admin endpoint listens: whoever reaches that can stop it.

    To be asked for only of a configuration that has no `refusals`.
    """
    return {
        "admin": {"address": {"socket_address": {"address": admin.host, "port_value": admin.port}}},
        "static_resources": {"listeners": [listener(config, table)], "clusters": clusters(config, admin)},
    }
