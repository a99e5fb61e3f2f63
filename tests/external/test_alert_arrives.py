"""From a broken domain to somebody who is told: splitter, both backends, Prometheus and Alertmanager, all real."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.external.watching import alertmanager, hook, prometheus, put
from tests.process.running import ask, splitter, wait_until
from tests.process.service import camera_backend

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
    reason="prometheus is not installed: tools/test_packages.sh installs it",
)

CONFIG = """
rollout: {percent: 50}
access_log: {sample: 0}
fallback: {budget: 1}
# Never ejected: a domain that fails half of its requests is to be seen, not to be taken out.
backends: {domain: {eject: {consecutive_failures: 1000}}}
"""


@contextmanager
def clients(port: int) -> Iterator[None]:
    """People who look at their cameras, until they are told to stop; none of them may see an error."""
    done, seen = threading.Event(), []

    def look(first: int) -> None:
        person = first
        while not done.is_set():
            person += 2
            seen.append(ask(port, "/api/v1/cameras", headers={"X-User-Id": f"user-{person % 200}"})[0])

    threads = [threading.Thread(target=look, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {200}


def test_domain_breaks_and_somebody_is_told(tmp_path: Path) -> None:
    with (
        camera_backend("legacy", tmp_path) as legacy,
        camera_backend("domain", tmp_path, "--allow-faults") as domain,
        splitter(
            tmp_path, CONFIG, LEGACY_URL=f"http://127.0.0.1:{legacy}", DOMAIN_URL=f"http://127.0.0.1:{domain}"
        ) as running,
        hook() as heard,
        alertmanager(tmp_path / "alertmanager", heard.port) as alerting,
        prometheus(tmp_path / "prometheus", running.port, alerting) as watching,
    ):
        with clients(running.port):
            wait_until(
                lambda: bool(watching.query('job_backend:splitter_attempts:rate5m{backend="domain"} * 300 > 100')), 40
            )
            assert not watching.query('ALERTS{alertname="SplitterErrorRateHigh"}')
            put(domain, "/fault", {"faults": ["error=0.5:503"]})
            wait_until(lambda: bool(heard.alerts("now", "SplitterErrorRateHigh")), 40)
            wait_until(lambda: bool(heard.alerts("morning", "SplitterFallbackRateHigh")), 40)
        alert = heard.alerts("now", "SplitterErrorRateHigh")[0]
        assert alert["labels"] == {
            "alertname": "SplitterErrorRateHigh", "severity": "critical", "job": "splitter", "backend": "domain",
        }  # fmt: skip
        assert alert["annotations"]["summary"].startswith("domain fails ")
        assert "% of its requests (limit 5 %)" in alert["annotations"]["summary"]
        assert not heard.alerts("now", "SplitterSuccessRateLow"), "legacy rescued every request"

        running.stop()
        wait_until(lambda: bool(heard.alerts("now", "SplitterDown")), 40)
        (down, *_) = heard.alerts("now", "SplitterDown")
        assert down["annotations"]["summary"] == f"The splitter 127.0.0.1:{running.port} does not answer"
