"""Metrics as Prometheus' own parser reads them."""

from __future__ import annotations

from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import exposition
from tests.integration.conftest import WRITE_KEY, Roundtrip


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_happens_is_counted(roundtrip: Roundtrip) -> None:
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    roundtrip.settle()
    before = samples(roundtrip.http.get("/metrics", headers=token).text)
    call = {"type": "track", "event": "Order Completed", "messageId": uuid4().hex, "userId": uuid4().hex}
    answer = roundtrip.http.post("/v1/batch", json={"batch": [call]}, auth=(WRITE_KEY, ""))
    assert answer.status_code == 200
    roundtrip.settle()
    answer = roundtrip.http.get("/metrics", headers=token)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    after = samples(answer.text)
    assert after["roundtrip_log_rows_total", ()] > before["roundtrip_log_rows_total", ()]
    assert after["roundtrip_reader_lag_rows", ("pipeline",)] == 0
    buyers = ("roundtrip_audience_members", ("buyers",))
    assert after[buyers] == before.get(buyers, 0) + 1
    assert after["roundtrip_profiles", ()] == before["roundtrip_profiles", ()] + 1


def test_nobody_reads_them_without_the_token(roundtrip: Roundtrip) -> None:
    assert roundtrip.http.get("/metrics").status_code == 401


def test_outbound_records_are_told_by_connection_and_status() -> None:
    status = {
        "log": {"position": 7, "log_time": "2026-01-05T02:00:00+00:00"},
        "readers": {"pipeline": {"position": 5, "lag": 2}},
        "profiles": 1,
        "audiences": {"pros": 1},
        "outbound": {'a "b"\n': {"pending": 2, "dead": 1}},
    }
    told = samples(exposition(status, {"loops": {}}).decode())
    assert told["roundtrip_outbound_records", ('a "b"\n', "dead")] == 1
    assert told["roundtrip_log_time_seconds", ()] == 1_767_578_400
