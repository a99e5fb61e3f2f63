"""Whether Prometheus has the rules and the splitter: asked of a real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.external.watching import prometheus
from tests.process.readiness_rig import outcomes, place
from tests.process.running import ROOT
from tools.readiness import watching
from tools.readiness.findings import Outcome

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed: tools/test_packages.sh installs it"
)


def test_rules_in_a_real_prometheus(tmp_path: Path) -> None:
    with place(tmp_path / "service") as service, prometheus(tmp_path / "prometheus", service.running.port) as found:
        url = f"http://127.0.0.1:{found.port}"
        status, items, _ = service.items("--quick", "--prometheus", url)
        assert (status, outcomes(items, "FAILED")) == (0, set()), items[watching.RULES_LOADED]
        assert items[watching.RULES_LOADED]["outcome"] == "ok"
        assert items[watching.RULES_LOADED]["detail"].endswith(", as in config/prometheus")
        assert items[watching.SCRAPED]["detail"] == f"127.0.0.1:{service.running.port}"

        edited = tmp_path / "checkout" / "config" / "prometheus"
        shutil.copytree(ROOT / "config" / "prometheus", edited)
        alerts = edited / "alerts.yml"
        text = alerts.read_text()
        alerts.write_text(text.replace("ratio_rate5m > 0.05", "ratio_rate5m > 0.050001", 1))
        old = {finding.what: finding for finding in watching.alerts(tmp_path / "checkout", url)}
        alerts.write_text(text.replace("alert: SplitterDomainSlow", "alert: SplitterDomainSlower", 1))
        missing = {finding.what: finding for finding in watching.alerts(tmp_path / "checkout", url)}
        nobody = {finding.what: finding for finding in watching.alerts(ROOT, "http://127.0.0.1:9")}
        other = {finding.what: finding for finding in watching.alerts(ROOT, f"http://127.0.0.1:{service.running.port}")}
    assert old[watching.RULES_LOADED].outcome is Outcome.FAILED
    assert old[watching.RULES_LOADED].detail == "it runs others than the files have: SplitterErrorRateHigh"
    assert missing[watching.RULES_LOADED].detail == "1 are missing: SplitterDomainSlower"
    assert missing[watching.LIMITS_SET].outcome is Outcome.FAILED
    for findings in (nobody, other):
        assert {findings[what].outcome for what in (watching.RULES_LOADED, watching.SCRAPED)} == {Outcome.FAILED}
    assert "Connection refused" in nobody[watching.SCRAPED].detail
