"""What is outside of this splitter: the hooks that are told of its changes, the one that is asked.

Owns: noticing changes, and that hooks go by the configuration in force. Must not know: what is said to whom, how it is sent.
Invariants: each event is handed on once, by the splitter that made it, when it is in force; nothing here waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from random import SystemRandom

from splitter.config import Config
from splitter.control.controller import Controller
from splitter.control.deliveries import secret_of, settings_of
from splitter.control.hooks import Confirm, Hooks
from splitter.tasks import Tasks


class Announcer:
    """See the top of the file. `name`: what hooks know this splitter by; `environ`: where the secrets are that are named."""

    def __init__(self, controller: Controller, tasks: Tasks, name: str, environ: Mapping[str, str]) -> None:
        random, clock = SystemRandom(), asyncio.get_running_loop().time
        self.hooks = Hooks((), tasks, name=name, clock=clock, now=time.time, random=random)
        self.confirm = Confirm(None, name=name, now=time.time, random=random)
        self._controller = controller
        self._environ = environ
        self._config: Config | None = None

    def follow(self) -> None:
        """From now on; what was made before is handed on at once."""
        self._controller.subscribe(self._look)
        self._look()

    def _look(self) -> None:
        config = self._controller.config
        if config is not self._config:
            self._config = config
            self.hooks.configure(settings_of(config, self._environ))
            self.confirm.secret = secret_of(config.rollout.confirm_secret_env, self._environ)
        made = self._controller.take_made()
        if made:
            self.hooks.on_events(made, str(self._controller.status()["summary"]))
