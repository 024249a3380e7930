"""deploy/monitoring: promtool's judgement, and that every metric it names is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from neo_polystore.ops.telemetry.families import FAMILIES
from tests.deploy.renderer import ROOT, compose, secrets
from tools import dashboards

FOLDER = ROOT / "deploy" / "monitoring"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
_LABELS = re.compile(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"")
_NAME = re.compile(r"[a-z_][A-Za-z0-9_]*(?!\s*\()\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "by", "le"}


def promtool(*words: str | Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: `apt-get install prometheus`, as root")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def known() -> set[str]:
    """Our metrics as they are exposed, and those of exporters that are listed."""
    others = yaml.safe_load((FOLDER / "exporters.yml").read_text())
    names = {name for listed in others.values() for name in listed}
    for family in FAMILIES.values():
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        names |= {family.name + suffix for suffix in suffixes}
    return names


def metrics_of(query: str) -> set[str]:
    """What a query names that is neither a label, a function nor a word of the language."""
    return {name for name in _NAME.findall(_LABELS.sub(" ", query)) if name not in _WORDS}


def queries() -> Iterator[tuple[str, str]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule["alert"], rule["expr"]
    for path in dashboards.FOLDER.glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


def test_prometheus_takes_configuration_and_rules() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_the_alerts_come_when_they_should_and_not_before() -> None:
    promtool("test", "rules", FOLDER / "tests" / "alerts.yml")


@pytest.mark.parametrize(("name", "query"), [*queries()])
def test_every_metric_that_is_named_exists(name: str, query: str) -> None:
    found = metrics_of(query)
    assert found, f"{name}: names no metric"
    assert found <= known(), name


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    query = 'sum by (store) (rate(neo_no_such_total{status="5xx"}[5m])) > 0'
    assert metrics_of(query) == {"neo_no_such_total"}


def test_no_exporters_metric_is_listed_for_nothing() -> None:
    named = {metric for _, query in queries() for metric in metrics_of(query)}
    ours = {name for name in known() if name.startswith("neo_")}
    assert known() - ours <= named


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
                assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


@pytest.mark.parametrize("title", dashboards.DASHBOARDS)
def test_the_dashboards_are_those_of_the_tool(title: str) -> None:
    written = (dashboards.FOLDER / f"{dashboards.name_of(title)}.json").read_text()
    assert written == dashboards.text(title), "run `python -m tools.dashboards`"


def test_there_is_no_dashboard_without_a_source() -> None:
    names = {f"{dashboards.name_of(title)}.json" for title in dashboards.DASHBOARDS}
    assert {path.name for path in dashboards.FOLDER.iterdir()} == names


def test_every_target_is_a_service() -> None:
    services = set(compose("docker-compose.yml", environment=secrets())["services"])
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    for job in jobs:
        for listed in job.get("static_configs", ()):
            hosts = {target.rpartition(":")[0] for target in listed["targets"]}
            assert hosts <= services | {"127.0.0.1"}, job["job_name"]
        for looked_up in job.get("dns_sd_configs", ()):
            assert set(looked_up["names"]) <= services, job["job_name"]


def test_the_platforms_jobs_keep_their_label() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (ours,) = [job for job in jobs if job["job_name"] == "neo-polystore"]
    assert ours["honor_labels"] is True
