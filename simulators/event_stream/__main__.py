"""`python -m simulators.event_stream`: serves the stream."""

from __future__ import annotations

import sys

from simulators.event_stream.api import make_app
from simulators.event_stream.store import Store
from simulators.server import add_secret, command_line, serve, start_of
from simulators.state import StateError


def main() -> None:
    parser = command_line(
        "event_stream", "A stream of engagement on loopback that behaves as Airship's does."
    )
    add_secret(parser, "--token", "ROUNDTRIP_AIRSHIP_TOKEN", "access token that readers must show")
    parser.add_argument("--app-key", required=True, help="the one project that there is")
    arguments = parser.parse_args()
    try:
        store = Store(arguments.state)
    except StateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    serve(make_app(arguments.app_key, arguments.token, store), start_of(arguments))


if __name__ == "__main__":
    main()
