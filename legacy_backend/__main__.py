"""`python -m legacy_backend`: the old camera service on port 8001.

Owns: nothing but name, port and application. Must not know: how a service is run.
"""

from __future__ import annotations

import sys

from camera_data.serve import main
from legacy_backend.app import build

if __name__ == "__main__":
    sys.exit(main("legacy", 8001, build))
