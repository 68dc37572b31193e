"""The audiences that are measured: a hundred of mixed kinds, and as many as wanted of which no two share an event."""

from __future__ import annotations

from typing import Any, Final

#: What a shop's users do; the audiences below ask about these.
EVENTS: Final = tuple(
    f"{thing} {done}"
    for thing in (
        "Product",
        "Order",
        "Cart",
        "Coupon",
        "Push",
        "Search",
        "Article",
        "Video",
        "Lesson",
        "Invoice",
    )
    for done in ("Viewed", "Completed")
)


def hundred() -> dict[str, dict[str, Any]]:
    """Five audiences about each event (a count, a window, a sum or an occurrence, a sequence, properties with an
    attribute or a split or another audience): 100 of mixed kinds."""
    said: dict[str, dict[str, Any]] = {}
    for number, event in enumerate(EVENTS):
        name, other = event.lower().replace(" ", "_"), EVENTS[(number + 1) % len(EVENTS)]
        said[f"{name}_often"] = {"match": {"event": event, "at_least": 3}}
        said[f"{name}_lately"] = {"match": {"event": event, "within": f"{number + 1}d", "at_least": 2}}
        said[f"{name}_worth"] = {
            "match": {"event": event, "sum": "total", "at_least": 500, "within": "90d"}
            if number % 2
            else {"event": event, "last": {"before": "14d"}}
        }
        said[f"{name}_ignored"] = {
            "match": {"event": event, "then_none": [{"event": other, "same": "item"}], "within": "24h"}
        }
        beside: tuple[dict[str, Any], ...] = (
            {"attribute": "plan", "is": "pro"},
            {"split": "test", "share": 50},
            {"in_audience": f"{name}_often"},
            {"not": {"event": other, "within": "7d"}},
        )
        dear = {"event": event, "where": {"total": {"greater_than": 80}}}
        said[f"{name}_dear"] = {"match": {"all": [dear, beside[number % 4]]}}
    return said


def disjoint(many: int) -> dict[str, dict[str, Any]]:
    """So many audiences, each about an event of its own."""
    return {
        f"about_{number}": {"match": {"event": f"Event {number}", "at_least": 3, "within": "30d"}}
        for number in range(many)
    }
