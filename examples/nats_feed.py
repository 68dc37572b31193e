"""A feed consumer: reads push engagement as JSON lines and hands it in on `roundtrip.in.<feed>`.

python examples/nats_feed.py nats://127.0.0.1:4222 app < engagement.ndjson
"""

import asyncio
import json
import sys

import nats


async def main(url: str, feed: str) -> None:
    client = await nats.connect(url)
    bus = client.jetstream()
    for line in sys.stdin:
        said = json.loads(line)
        call = {
            "type": "track",
            "event": "Push Opened",
            "messageId": said["id"],  # the same id twice is taken in once
            "userId": said["user"],
            "timestamp": said["at"],
            "properties": {"message_id": said["push"], "outbound_batch": said.get("batch")},
        }
        # Returns once NATS has stored it; Roundtrip acknowledges it after its own commit.
        await bus.publish(f"roundtrip.in.{feed}", json.dumps({"batch": [call]}).encode())
    await client.close()


asyncio.run(main(*sys.argv[1:]))
