"""An event that waits for an identifier, on a real log: the same in a rebuild, and mended by hand where none came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.replay import chosen, replay
from tests.integration.by_hand import Hand

HOUR = 3_600_000_000
NOON = 1_767_614_400_000_000
WORKSPACE: dict[str, Any] = {
    "workspace": "test",
    "clock": "simulated",
    "feeds": {"app": {"format": "files"}},
    "channels": {"mail": {"cap": [{"at_most": 1, "within": "1d"}]}},
    "connections": {
        "mirror": {
            "connector": "segment",
            "events": ["Lamp Lit"],
            "channel": "mail",
            "wait_for_identifier": "6h",
            "fields": {"email": "identifier.email", "user_id": "identifier.user_id"},
            "requires": ["email"],
            "settings": {"base_url": "https://cdp.example.com"},
            "secrets": {"write_key": {"env": "MIRROR_KEY"}},
        }
    },
}


def lit(n: int, at: int) -> dict[str, Any]:
    return {"type": "track", "messageId": f"lit-{n}-{at}", "userId": f"u-{n}", "event": "Lamp Lit"}


def test_what_waits_is_in_a_rebuild_too_and_what_was_given_up_is_mended_by_hand(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    with open_definitions(database) as definitions:
        hand = Hand(engine, database, definitions)
        apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
        hand.say(NOON, *(lit(n, NOON) for n in range(3)), lit(2, NOON + 1))
        assert hand.requested() == []
        assert hand.differing(tmp_path / "rebuild") == []
        email = {"traits": {"email": "0@example.com"}}
        hand.say(NOON + HOUR, {"type": "identify", "messageId": "i-0", "userId": "u-0"} | email)
        [sent] = hand.requested()
        assert sent.fields == {"email": "0@example.com", "user_id": "u-0"}
        hand.say(NOON + 7 * HOUR, lit(9, NOON + 7 * HOUR))
        assert hand.differing(tmp_path / "rebuild") == []
        with engine.begin() as connection:
            letters = chosen(connection, [], "mirror", "no identifier 'email' became known in time", 10)
            assert len(letters) == 3
            mended = replay(connection, letters, {"email": "x@example.com"})
        # Of the two letters of one person the cap lets one go.
        assert [one.why_not for one in mended if not one.id] == [
            "the cap of channel 'mail': at most 1 within 1d"
        ]
        hand.drain()
        again = [one for one in hand.requested() if one.fields.get("email") == "x@example.com"]
        assert [(one.unsent, one.channel) for one in again] == [("", "mail")] * 2
