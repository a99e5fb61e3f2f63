"""Log lines: JSON for machines, colours for a terminal; one for each state change, failure, and sampled request.

`visible` makes values harmless, `storms` holds back floods, `output` writes without ever making anyone wait, `requests` are
the lines of the data plane, `structured` is everybody else's structlog.
"""

from splitter.logs.output import Output
from splitter.logs.requests import FLUSH_EVERY_S, AccessLog, Ended
from splitter.logs.structured import Logs, configure, current, utc_now

__all__ = ["FLUSH_EVERY_S", "AccessLog", "Ended", "Logs", "Output", "configure", "current", "utc_now"]
