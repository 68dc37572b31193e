"""A delivery process for the crash tests: `python -m tests.integration.delivery_process <connection>`, with
the NATS URL, the destination's URL and a failpoint in the environment. SIGTERM ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from domain.workspace import Connection
from runtime.delivery.run import run_deliver
from tests.integration.delivering import APP

#: Short, so that the next process need not wait long for what a killed one had in its hands.
ACK_WAIT_S = 1.0


async def everybody(purpose: str, profiles: Sequence[str]) -> set[str]:
    return set(profiles)


async def main(name: str) -> None:
    declared = Connection.model_validate(
        {
            "connector": "onesignal",
            "audience": "new_app_users",
            "purpose": "push",
            "fields": {"external_id": "identifier.user_id"},
            "settings": {
                "base_url": "${ROUNDTRIP_PUSH_URL}",
                "app_id": APP,
                "contents": {"en": "Hello"},
            },
            "secrets": {"api_key": {"env": "ROUNDTRIP_PUSH_API_KEY"}},
            "allow_private": True,
        }
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    url = os.environ["ROUNDTRIP_NATS_URL"]
    await run_deliver(url, {name: declared}, everybody, stop, environ=os.environ, ack_wait_s=ACK_WAIT_S)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
