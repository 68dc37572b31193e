"""Sending a dead letter again: as a new outbound record, with what holds now, and only if it is still to be said.

The old record stays a dead letter. What it becomes has an id that follows from it, so one letter is sent again once;
where that fails too, it is a dead letter of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from domain.outbound import Outbound
from domain.profiles import Profile
from domain.records import derive_id

ERASED = "the person was erased"
NO_LONGER = "the destination is not to know of the person any more"
TOLD_AGAIN = "the destination was told of the person again since"


def again(letter: Outbound, profile: Profile | None, fixed: Mapping[str, Any]) -> Outbound | str:
    """The record that goes out in the letter's place, or why none does. `profile` is the person now; `fixed` are
    fields that somebody has set right.

    Of an audience's change the state that holds now decides: an entry is told with the fields that the destination was
    last meant to know, and what has been overtaken is not told at all. An event is told as it was.
    """
    id = derive_id("replay", letter.id)
    if letter.change == "complete":
        return msgspec.structs.replace(letter, id=id)
    if profile is None:
        return ERASED
    told = profile.routed.get(letter.connection)
    fields = letter.fields
    if letter.change in ("add", "update"):
        if told is None:
            return NO_LONGER
        fields = told
    elif letter.change == "remove" and told is not None:
        return TOLD_AGAIN
    return msgspec.structs.replace(letter, id=id, profile=profile.id, fields={**fields, **fixed}, unsent="")
