"""The services a handler can call.

Owns: how they are put together from the shared ground. Must not know: the handlers.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from camera_data.serve import Ground
from domain_backend.repositories.sources import Sources
from domain_backend.repositories.store import Store
from domain_backend.services.alert_rules import AlertRuleService
from domain_backend.services.camera_catalogue import CameraCatalogueService
from domain_backend.services.camera_control import CameraControlService
from domain_backend.services.camera_view import CameraViewService


@dataclass(frozen=True, slots=True)
class Context:
    """The services, and the ground for what is no service's: threads, news that something changed, the end."""

    ground: Ground
    control: CameraControlService
    catalogue: CameraCatalogueService
    view: CameraViewService
    rules: AlertRuleService


CONTEXT = web.AppKey("context", Context)


def context_of(ground: Ground) -> Context:
    """Services over the file and the database of `ground`."""
    store, sources = Store(ground.camera_file, ground.database), Sources(ground.camera_file.directory)
    return Context(
        ground,
        CameraControlService(store, sources, ground.now),
        CameraCatalogueService(store, ground.now),
        CameraViewService(store, sources, ground.now),
        AlertRuleService(store, ground.now),
    )
