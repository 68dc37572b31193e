"""`python -m simulators.vendors`: serves all vendors' APIs, each below its name."""

from __future__ import annotations

import sys

from simulators.server import add_secret, command_line, serve, start_of
from simulators.state import State, StateError
from simulators.vendors import held
from simulators.vendors.airship import AIRSHIP
from simulators.vendors.app import make_app
from simulators.vendors.braze import BRAZE
from simulators.vendors.google_analytics import GOOGLE_ANALYTICS
from simulators.vendors.google_data_manager import GOOGLE_DATA_MANAGER
from simulators.vendors.hubspot import HUBSPOT
from simulators.vendors.sendgrid import SENDGRID
from simulators.vendors.tiktok import TIKTOK
from simulators.vendors.twilio import TWILIO
from simulators.vendors.webhook import WEBHOOK

VENDORS = {
    "airship": AIRSHIP,
    "braze": BRAZE,
    "google_analytics": GOOGLE_ANALYTICS,
    "google_data_manager": GOOGLE_DATA_MANAGER,
    "hubspot": HUBSPOT,
    "sendgrid": SENDGRID,
    "tiktok": TIKTOK,
    "twilio": TWILIO,
    "webhook": WEBHOOK,
}


def main() -> None:
    parser = command_line("vendors", "Destinations on loopback that behave as their vendors' APIs do.")
    add_secret(
        parser, "--secret", "ROUNDTRIP_VENDORS_SECRET", "the secret that callers must show to each of them"
    )
    arguments = parser.parse_args()
    try:
        state = State(arguments.state, held.TABLES)
    except StateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    serve(make_app(VENDORS, arguments.secret, state), start_of(arguments))


if __name__ == "__main__":
    main()
