"""Where everything stands, as Prometheus reads it (https://prometheus.io/docs/instrumenting/exposition_formats/).

All of it is read from the database at the moment it is asked for, so that every process answers the same, and a
process that has just begun knows as much as one that has run for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: The content type of the text format.
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(status: dict[str, Any], measured: dict[str, Any]) -> bytes:
    """What `runtime.status.read_status` and `runtime.loop_measures.measure_loops` have said, in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Status(status))
    registry.register(_Loops(measured["loops"]))
    return generate_latest(registry)


class _Status(Collector):
    """Prometheus' client asks a collector for the metrics of a scrape."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        yield CounterMetricFamily("roundtrip_log_rows", "Rows of the log.", status["log"]["position"])
        yield GaugeMetricFamily(
            "roundtrip_log_time_seconds",
            "The log's time: when its last row was taken in, in seconds since the epoch.",
            datetime.fromisoformat(status["log"]["log_time"]).timestamp(),
        )
        position = CounterMetricFamily(
            "roundtrip_reader_rows", "Rows of the log that a reader has taken in.", labels=["reader"]
        )
        lag = GaugeMetricFamily(
            "roundtrip_reader_lag_rows", "Rows that a reader has still to take in.", labels=["reader"]
        )
        for reader, stands in status["readers"].items():
            position.add_metric([reader], stands["position"])
            lag.add_metric([reader], stands["lag"])
        yield position
        yield lag
        yield GaugeMetricFamily("roundtrip_profiles", "People known.", status["profiles"])
        members = GaugeMetricFamily("roundtrip_audience_members", "People in it now.", labels=["audience"])
        for audience, size in status["audiences"].items():
            members.add_metric([audience], size)
        yield members
        outbound = GaugeMetricFamily(
            "roundtrip_outbound_records",
            "Outbound records by what became of them; `pending` are on their way.",
            labels=["connection", "status"],
        )
        for connection, counts in status["outbound"].items():
            for what, count in counts.items():
                outbound.add_metric([connection, what], count)
        yield outbound


class _Loops(Collector):
    """The loops' measures, by loop and hop; a hop is named by its connection."""

    def __init__(self, loops: dict[str, Any]) -> None:
        self._hops = [(loop, hop) for loop, one in loops.items() for hop in one["hops"]]

    def collect(self) -> Iterator[Metric]:
        hop_of = ["loop", "connection"]
        records = GaugeMetricFamily(
            "roundtrip_loop_records", "Outbound records of a hop, by status.", labels=[*hop_of, "status"]
        )
        answered = GaugeMetricFamily(
            "roundtrip_loop_answered_records", "Outbound records whose engagement came back.", labels=hop_of
        )
        orphaned = GaugeMetricFamily(
            "roundtrip_loop_orphaned_records",
            "Engagement that came in by a hop's feed and answers nothing that is known.",
            labels=hop_of,
        )
        seconds = GaugeMetricFamily(
            "roundtrip_loop_seconds",
            "How long a step takes, of the newest records.",
            labels=[*hop_of, "step", "quantile"],
        )
        for loop, hop in self._hops:
            labels = [loop, hop["connection"]]
            for status, count in hop["records"].items():
                records.add_metric([*labels, status], count)
            answered.add_metric(labels, hop["answered"])
            if "orphaned" in hop:
                orphaned.add_metric(labels, hop["orphaned"])
            for step, spread in hop["seconds"].items():
                seconds.add_metric([*labels, step, "0.5"], spread["p50"])
                seconds.add_metric([*labels, step, "0.99"], spread["p99"])
        yield from (records, answered, orphaned, seconds)
