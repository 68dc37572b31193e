"""`python -m simulators.ad_platform`: serves the ad platform."""

from __future__ import annotations

import sys

from simulators.ad_platform.api import make_app
from simulators.ad_platform.store import Store
from simulators.server import add_secret, command_line, serve, start_of
from simulators.state import StateError


def main() -> None:
    parser = command_line(
        "ad_platform", "An ad platform on loopback that behaves as Meta's Custom Audiences do."
    )
    add_secret(parser, "--token", "ROUNDTRIP_ADS_TOKEN", "access token that callers must show")
    arguments = parser.parse_args()
    try:
        store = Store(arguments.state)
    except StateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    serve(make_app(arguments.token, store), start_of(arguments))


if __name__ == "__main__":
    main()
