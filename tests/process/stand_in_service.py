"""A service that answers 200 to every GET: in place of legacy, domain and splitter, where a test wants one to fail.

Copied as `__main__.py` into packages of their names, in a directory of the test's own. STAND_IN_FAULT is `name:fault`:
`exit` ends at once with a message, `deaf` ignores SIGTERM, `worker` leaves a process behind when it is told to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Always200(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    name = Path(__file__).parent.name.removesuffix("_backend")
    faulty, _, fault = os.environ.get("STAND_IN_FAULT", "").partition(":")
    if faulty == name and fault == "exit":
        sys.exit("there is no cameras.yaml here")
    if faulty == name and fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if faulty == name and fault == "worker":
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    arguments = sys.argv[1:]
    if name == "splitter":
        port = os.environ["SPLITTER_LISTEN"].rpartition(":")[2]
        admin = ThreadingHTTPServer(("127.0.0.1", int(os.environ["SPLITTER_ADMIN_LISTEN"].rpartition(":")[2])), Always200)
        threading.Thread(target=admin.serve_forever, daemon=True).start()
    else:
        port = arguments[arguments.index("--port") + 1]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Always200)
    sys.stderr.write(f"{name} {' '.join(arguments)}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
