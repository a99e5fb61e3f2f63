"""`python -m domain_backend`: the rewritten camera service on port 8002.

Owns: nothing but name, port and application. Must not know: how a service is run.
"""

from __future__ import annotations

import sys

from camera_data.serve import main
from domain_backend.web.app import build

if __name__ == "__main__":
    sys.exit(main("domain", 8002, build))
