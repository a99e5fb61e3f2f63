"""Where things are.

Owns: the paths that several handlers share. Must not know: what is there.
"""

from __future__ import annotations

CAMERAS = "/api/v1/cameras"
RULES = "/api/v1/alerts/rules"
CAMERA = CAMERAS + r"/{camera_id:(?!(?:batch-status|refresh)$)[^/]+}"  # those two are no ids: GET there is 405
