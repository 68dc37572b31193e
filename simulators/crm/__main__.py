"""`python -m simulators.crm`: serves the CRM."""

from __future__ import annotations

import sys

from simulators.crm.api import make_app
from simulators.server import add_secret, command_line, serve, start_of
from simulators.state import State, StateError
from simulators.vendors import held


def main() -> None:
    parser = command_line("crm", "A CRM on loopback that behaves as HubSpot does, and in which people work.")
    add_secret(parser, "--token", "ROUNDTRIP_CRM_TOKEN", "the access token of the one app there is")
    add_secret(
        parser, "--client-secret", "ROUNDTRIP_CRM_CLIENT_SECRET", "what the app's webhooks are signed with"
    )
    parser.add_argument("--app-id", default="54321", help="the app's id")
    arguments = parser.parse_args()
    try:
        state = State(arguments.state, held.TABLES)
    except StateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    serve(make_app(arguments.token, arguments.client_secret, arguments.app_id, state), start_of(arguments))


if __name__ == "__main__":
    main()
