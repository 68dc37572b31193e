"""The public `@segment/analytics-next` package, unchanged, in a real browser, pointed here by its options."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.integration.browser import browsing, packages
from tests.integration.conftest import WRITE_KEY, Roundtrip
from tests.servers import wait_until

_CALLS = ("identify", "track", "page", "screen", "group", "alias")
_PAGE = """<!doctype html><title>Shop</title><script src="client.js"></script><script>
const {AnalyticsBrowser} = window.AnalyticsNext ?? window;
const ids = IDS, user = USER;
const analytics = AnalyticsBrowser.load({writeKey: KEY, cdnURL: URL_}, OPTIONS);
(async () => {
  await analytics.identify(user, {plan: "pro"}, {messageId: ids.identify, integrations: {Ads: false}});
  await analytics.track("Order Completed", {total: 12.5}, {messageId: ids.track});
  await analytics.page("Docs", "Start", {}, {messageId: ids.page});
  await analytics.screen("Main", "Home", {}, {messageId: ids.screen});
  await analytics.group("group-1", {size: 3}, {messageId: ids.group});
  await analytics.alias(user, "old-" + user, {messageId: ids.alias});
})();
</script>"""


@pytest.fixture(params=["standard", "batching"])
def said(request: pytest.FixtureRequest, roundtrip: Roundtrip) -> Iterator[tuple[str, dict[str, Any]]]:
    """The user that the page names, and the record of each kind of call."""
    options: dict[str, Any] = {}
    if request.param == "batching":
        strategy = {"strategy": "batching", "config": {"size": 3, "timeout": 500}}
        options = {"integrations": {"Segment.io": {"deliveryStrategy": strategy}}}
    user = f"browser-{uuid.uuid4()}"
    ids = {kind: str(uuid.uuid4()) for kind in _CALLS}
    page = _PAGE
    for word, value in (
        ("IDS", ids),
        ("USER", user),
        ("KEY", WRITE_KEY),
        ("URL_", roundtrip.url),
        ("OPTIONS", options),
    ):
        page = page.replace(word, json.dumps(value), 1)
    client = packages() / "@segment" / "analytics-next" / "dist" / "umd" / "index.js"
    with browsing({"index.html": page, "client.js": client}):
        for kind, message_id in ids.items():
            wait_until(partial(roundtrip.rows, message_id), f"the page's {kind} call")
    yield user, {kind: roundtrip.rows(message_id) for kind, message_id in ids.items()}


def test_every_call_of_a_page_is_in_the_log_once(said: tuple[str, dict[str, Any]]) -> None:
    user, records = said
    for kind in _CALLS:
        [record] = records[kind]
        assert record["type"] == kind
        assert any(value in (user, f"old-{user}") for _, value in record["identifiers"])
    assert records["track"][0]["body"]["properties"] == {"total": 12.5}
    # What the customer switched off for a destination stays readable in what he sent.
    assert records["identify"][0]["body"]["integrations"]["Ads"] is False
