"""`python -m simulators.push_tool`: serves the push tool."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser

from simulators.push_tool.api import Account, make_app, read_webhook
from simulators.push_tool.store import Store
from simulators.push_tool.webhooks import MAX_BATCH, Courier
from simulators.server import add_secret, command_line, serve, start_of
from simulators.state import StateError


def main() -> None:
    arguments = _parser().parse_args()
    try:
        webhook = (
            read_webhook(arguments.webhook_url, arguments.webhook_secret) if arguments.webhook_url else None
        )
        store = Store(arguments.state)
    except (ValueError, StateError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if webhook is not None:
        store.set_webhook(webhook)
    account = Account(arguments.api_key, arguments.app_id)
    courier = Courier(store, arguments.app_id, arguments.webhook_batch)
    serve(make_app(account, store, courier), start_of(arguments))


def _parser() -> ArgumentParser:
    parser = command_line("push_tool", "A push tool on loopback that behaves as OneSignal does.")
    add_secret(parser, "--api-key", "ROUNDTRIP_PUSH_API_KEY", "key that senders must show")
    parser.add_argument("--app-id", required=True, help="the one app that there is")
    parser.add_argument("--webhook-url", help="where events go; by default where they went last")
    parser.add_argument(
        "--webhook-secret",
        default=os.environ.get("ROUNDTRIP_PUSH_WEBHOOK_SECRET", ""),
        help="goes along as X-Roundtrip-Secret; or $ROUNDTRIP_PUSH_WEBHOOK_SECRET",
    )
    parser.add_argument(
        "--webhook-batch",
        type=int,
        choices=range(1, MAX_BATCH + 1),
        default=MAX_BATCH,
        metavar=f"1..{MAX_BATCH}",
        help=f"events in a request: by default {MAX_BATCH}; with 1 it is one object, as the vendor sends",
    )
    return parser


if __name__ == "__main__":
    main()
