"""Drift over HTTP and in the console: measured, shown as a heat map, decided by people with keys of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import pytest
from drifting import POLICY, ask_all, use_more, watched_region

from opportune.doors.cli.server import Server, listen
from opportune.doors.http.api import metrics_text
from opportune.doors.http.keys import ALL_SCOPES, Keyring
from opportune.flows.region import Region
from opportune.views.drift import case_line, heat_map, report_line
from opportune.views.drift_report import html_report

pytestmark = pytest.mark.slow

RETRAIN = msgspec.structs.replace(POLICY, actions={"input": "propose_retraining"})


class Served(NamedTuple):
    region: Region
    server: Server

    def send(
        self, method: str, path: str, body: object = None, key: str = "all", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, body as JSON or text, headers)"""
        data = body if isinstance(body, str) else None if body is None else json.dumps(body)
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
        with closing(HTTPConnection(self.server.host, self.server.port, timeout=30)) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status, json.loads(text) if is_json else text, dict(answer.headers)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A region whose customers use more than in training; nothing was looked at yet."""
    scopes = {"all": ALL_SCOPES, "ada-key": frozenset({"approve", "read"}), "reads": frozenset({"read"})}
    ring = Keyring(scopes, {"ada-key": "ada"})
    with watched_region(tmp_path, RETRAIN) as region:
        use_more(region)
        ask_all(region, 3)
        with Server(region, ring, listen("127.0.0.1", 0)) as server:
            yield Served(region, server)


def test_a_check_on_demand_finds_drift_and_a_person_approves_the_case(served: Served) -> None:
    assert served.send("GET", "/v1/drift")[1]["reports"] == []
    status, checked, _ = served.send("POST", "/v1/drift/checks", {})
    assert status == 200
    case = checked["cases"][0]
    assert (case["status"], case["for_a_person"]) == ("proposed", True)
    found = served.send("GET", "/v1/drift?model=small&last=5")[1]
    row = next(one for one in found["heat"][0]["rows"] if one["what"] == "used")
    assert row["cells"][-1]["found"] is True
    assert row["cells"][-1]["of_limit"] > 1.0
    path = f"/v1/drift/cases/{case['id']}"
    assert served.send("POST", f"{path}/approve", {"reason": "yes"}, "reads")[0] == 403
    status, problem, _ = served.send("POST", f"{path}/approve", {"reason": "yes"}, "all")
    assert (status, problem["type"].rpartition("/")[2]) == (403, "case-person")
    assert served.send("POST", f"{path}/approve", {"reason": ""}, "ada-key")[0] == 400
    assert served.send("POST", f"{path}/approve", {"reason": "yes"}, "ada-key")[1]["status"] == "approved"
    assert served.send("POST", f"{path}/approve", {"reason": "yes"}, "ada-key")[0] == 409
    assert [step["by"] for step in served.send("GET", path)[1]["steps"]] == ["drift", "ada"]


def test_what_is_not_there_is_a_problem_that_says_so(served: Served) -> None:
    assert served.send("GET", "/v1/drift/cases/none")[1]["type"].endswith("unknown-case")
    status, problem, _ = served.send("POST", "/v1/drift/checks", {"model": "other"})
    assert (status, problem["type"].rpartition("/")[2]) == (404, "unknown-model")
    assert "`small`" in problem["detail"]


def test_the_console_shows_the_heat_map_and_takes_a_persons_decision(served: Served) -> None:
    served.region.drift.check()
    link = served.server.link().partition(str(served.server.port))[2]
    cookie = served.send("GET", link)[2]["set-cookie"].partition(";")[0]
    status, page, headers = served.send("GET", "/console/drift", cookie=cookie)
    assert status == 200
    assert "style=" not in page, "the page's policy forbids inline styles"
    assert "script-src" in headers["content-security-policy"]
    assert "▲" in page
    assert "found: " in page
    assert "Approve training" in page
    assert served.send("GET", "/console/drift.json", cookie=cookie)[1]["cases"]
    id_ = served.region.drift.cases()[0].id
    form = {"content-type": "application/x-www-form-urlencoded", "cookie": cookie,
            "origin": served.server.url, "sec-fetch-site": "same-origin"}  # fmt: skip
    wrong = served.send("POST", f"/console/drift/{id_}/approve", urlencode({"reason": "yes", "key": "reads"}), **form)
    assert wrong[0] == 403
    served.send("POST", f"/console/drift/{id_}/refuse", urlencode({"reason": "a campaign", "key": "ada-key"}), **form)
    assert served.region.drift.cases()[0].status == "refused"
    assert "a campaign" in served.send("GET", "/console/drift", cookie=cookie)[1]


def test_alarms_are_metrics(served: Served) -> None:
    assert 'opportune_drift_alarms{model="small"' not in metrics_text(served.region)
    served.region.drift.check()
    text = metrics_text(served.region)
    mine = 'opportune_drift_alarms{model="small",series="inputs"'
    alarms = next(line for line in text.splitlines() if line.startswith(mine))
    assert int(alarms.split()[-1]) >= 1
    assert "opportune_drift_cases_open 1" in text


def test_the_report_is_one_page_that_escapes_what_it_shows(served: Served) -> None:
    served.region.drift.check()
    reports = served.region.drift.reports(10)
    odd = msgspec.structs.replace(reports[-1], model="<b>&", measured=tuple(
        msgspec.structs.replace(one, what="<script>") for one in reports[-1].measured))  # fmt: skip
    page = html_report([*reports, odd], {}, 0)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "What was found" in page
    assert "http" not in page.replace("<html", "")


def test_a_heat_map_keeps_the_largest_of_a_day_and_a_line_holds_what_a_segment_shows(served: Served) -> None:
    served.region.drift.check()
    reports = served.region.drift.reports(10)
    heat = heat_map(reports, "small")
    assert heat.rows[0].cells[-1].found, "what was found comes first"
    assert "used" in {row.what for row in heat.rows if row.kind == "feature"}
    assert len(heat.days) == len(heat.rows[0].cells)
    assert heat_map(reports, "small", "plan = pro").rows == ()
    with_alarm = next(one for one in reports if one.found)
    assert report_line(with_alarm, "plan").found == ()
    assert report_line(with_alarm).found
    assert case_line(served.region.drift.cases()[0]).open
