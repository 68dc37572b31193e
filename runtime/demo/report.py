"""The end of the demo: the funnel, the latencies, and whether the truth was met."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from simulators.app_users import Truth

#: How many differing users a mismatch names.
NAMED: Final = 10


class Finding(NamedTuple):
    """One comparison with the truth: who is there and should not be, and the other way round."""

    what: str
    expected: int
    found: int
    missing: Sequence[str]
    surplus: Sequence[str]

    @property
    def holds(self) -> bool:
        return not self.missing and not self.surplus


class Latencies(NamedTuple):
    """Seconds from the call that a user posted, or the tick, to the request at the vendor."""

    push: Sequence[float]
    retargeting: Sequence[float]


def compare(what: str, expected: Collection[str], found: Collection[str]) -> Finding:
    """Sets compared; differing users come in order."""
    wanted, there = set(expected), set(found)
    return Finding(what, len(wanted), len(there), sorted(wanted - there), sorted(there - wanted))


def check(truth: Truth, messages: Mapping[str, Any], members: Mapping[str, Any]) -> list[Finding]:
    """The platform's doing against what the generator computed by itself."""
    twice = [user for user, sent in messages.items() if sent["count"] > 1]
    again = [who for who, member in members.items() if member["adds"] > 1]
    return [
        compare("got the push", truth.expected_pushed, messages),
        compare("retargeted in the ad platform (by e-mail hash)", truth.expected_ads, members),
        compare("got the push more than once", (), twice),
        compare("retargeted more than once", (), again),
    ]


def latencies(
    posted_by_user: Mapping[str, Sequence[float]],
    ticks: Sequence[float],
    messages: Mapping[str, Any],
    members: Mapping[str, Any],
) -> Latencies:
    """From the last call or tick posted before a vendor's request to that request; only of this run."""
    push = [
        received - posts[index - 1]
        for user, sent in messages.items()
        if (posts := posted_by_user.get(user))
        and (index := bisect_right(posts, received := float(sent["received_wall"])))
    ]
    retargeting = [
        received - ticks[index - 1]
        for member in members.values()
        if (index := bisect_right(ticks, received := float(member["received_wall"])))
    ]
    return Latencies(sorted(push), sorted(retargeting))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that this share of them does not exceed."""
    return values[min(int(share * len(values)), len(values) - 1)]


def print_funnel(console: Console, truth: Truth, kinds: Mapping[str, int], messages: int, ads: int) -> None:
    table = Table(title="The funnel", title_justify="left")
    for name in ("stage", "users", "of those before"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    stages = [
        ("app users", len(truth.fates)),
        ("entered: new app users, consented to push", len(truth.expected_pushed)),
        ("sent the push", messages),
        ("opened it", kinds.get("message.push.clicked", 0)),
        ("converted within 24 h", sum(fate.converted_at is not None for fate in truth.fates.values())),
        ("neither opened nor converted: audience push_ignored", len(truth.expected_audience)),
        ("retargeted in the ad platform", ads),
    ]
    before = 0
    for name, count in stages:
        share = f"{100 * count / before:.1f} %" if before else ""
        table.add_row(name, f"{count:,}", share if name not in ("converted within 24 h",) else "")
        if name.startswith(("app users", "entered", "sent", "neither")):
            before = count
    console.print(table)


def print_latencies(console: Console, found: Latencies) -> None:
    table = Table(title="End to end, over every stage, durable in each", title_justify="left")
    for name in ("from → to", "users", "p50", "p90", "p99"):
        table.add_column(name, justify="left" if name == "from → to" else "right")
    for name, values in (
        ("SDK call → request at the push tool", found.push),
        ("clock's tick → request at the ad platform", found.retargeting),
    ):
        if values:
            shown = [f"{1000 * percentile(values, share):,.0f} ms" for share in (0.5, 0.9, 0.99)]
            table.add_row(name, f"{len(values):,}", *shown)
        else:
            table.add_row(name, "0", "all done in an earlier run", "", "")
    console.print(table)


def print_findings(console: Console, findings: Sequence[Finding]) -> bool:
    """Prints each comparison; whether all hold."""
    for finding in findings:
        mark = "[green]✓[/]" if finding.holds else "[red]✗[/]"
        console.print(f"{mark} {finding.what}: expected {finding.expected:,}, found {finding.found:,}")
        for label, users in (("missing", finding.missing), ("surplus", finding.surplus)):
            if users:
                rest = f" … and {len(users) - NAMED:,} more" if len(users) > NAMED else ""
                console.print(f"  {label}: {', '.join(users[:NAMED])}{rest}")
    return all(finding.holds for finding in findings)
