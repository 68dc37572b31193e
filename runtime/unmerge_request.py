"""Asking that one person be two: which two identifiers part is made out, asked for in the log, and waited for."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from adapters.log.append import append
from adapters.log.read import read_head
from adapters.projections.subjects import positions_of
from domain.identifiers import read_identifier
from domain.profiles import Profile, nodes
from domain.records import Identifier, derive_id, node_id
from domain.unmerge import (
    REFUSED,
    UnmergeRequest,
    decode_refused,
    decode_unmerged,
    request_entry,
)
from runtime.definitions import Definitions
from runtime.errors import UnmergeError
from runtime.identity_explain import merges_of
from runtime.leading import lead_alone
from runtime.profiles import person_of
from runtime.requested import answer_to, wait_for


def unmerge_identity(
    engine: Engine, definitions: Definitions, who: str, apart_from: str, asked_by: str, wait_s: float
) -> dict[str, Any]:
    """Takes the identifier `who` out of its person: apart from the identifier, or by undoing the merge at the position,
    that `apart_from` says; empty where that is to be found. What was done, once the pipeline has come to it, for which
    it waits at most `wait_s` seconds. Raises `NobodyError`, `IndexBehindError` and `UnmergeError`."""
    with engine.begin() as connection:
        id = request_unmerge(connection, who, apart_from, asked_by)
    lead_alone(engine, definitions, lambda: answer_to(engine, id) is not None)
    if not wait_for(lambda: answer_to(engine, id) is not None, wait_s):
        raise UnmergeError(
            "it is asked for in the log, and the pipeline does not get to it; see that `roundtrip pipeline` runs"
        )
    return outcome_of(engine, id)


def outcome_of(engine: Engine, id: str) -> dict[str, Any]:
    """What was done of a request. Raises `UnmergeError` where it was refused or there is none with this id."""
    try:
        row = answer_to(engine, str(UUID(id)))
    except ValueError:
        raise UnmergeError("this is no request's id; it is a UUID, as the request was answered by") from None
    if row is None:
        raise UnmergeError(f"no request {id} has been done; the pipeline may not have come to it yet")
    if row.topic == REFUSED:
        refused = decode_refused(row.state)
        raise UnmergeError(f"position {refused.requested} asks for it, and it was refused: {refused.reason}")
    done = decode_unmerged(row.state)
    return {
        "position": done.requested,
        "profile": done.profile,
        "parted": done.parted,
        "nobodys": done.nobodys,
    }


def request_unmerge(connection: Connection, who: str, apart_from: str, asked_by: str) -> str:
    """Asks for it in the log; the request's id. Raises `NobodyError`, `IndexBehindError` and `UnmergeError`."""
    node, other = _two(connection, person_of(connection, who), who, apart_from)
    # The pipeline must not come to a request that it cannot do yet.
    positions_of(connection, [node], limit=1)
    request = UnmergeRequest(
        id=derive_id("unmerge", node, other, str(read_head(connection).position)),
        node=node,
        other=other,
        asked_by=hashlib.sha256(asked_by.encode()).hexdigest(),
    )
    append(connection, [request_entry(request)])
    return request.id


def _two(connection: Connection, profile: Profile, who: str, apart_from: str) -> tuple[str, str]:
    """The nodes that part."""
    node, own = node_id(_read(who)), nodes(profile)
    if len(own) == 1:
        raise UnmergeError(f"{who} is the person's only identifier, so there is nothing to take it out of")
    merges = [one for one in merges_of(connection, profile) if one.merged in own and one.profile in own]
    if apart_from.isdigit():
        found = [one for one in merges if one.cause == int(apart_from)]
        if not found:
            places = ", ".join(str(one.cause) for one in merges) or "none"
            raise UnmergeError(
                f"no profiles became this person at position {apart_from}; positions where some did: {places}"
            )
        return found[-1].profile, found[-1].merged
    if apart_from:
        other = node_id(_read(apart_from))
        if other == node:
            raise UnmergeError(f"{who} cannot be taken out of itself; name another identifier of the person")
        if other not in own:
            raise UnmergeError(f"{apart_from} and {who} are not one person's, so there is nothing to cut")
        return node, other
    if node != profile.id:
        return node, profile.id
    if not merges:
        raise UnmergeError(
            f"no other profile became this person, who was first seen by {who}, so there is nothing to undo;"
            " `--from KIND:VALUE` says which identifier is somebody else's"
        )
    return merges[-1].profile, merges[-1].merged


def _read(said: str) -> Identifier:
    kind, _, value = said.partition(":")
    found = read_identifier(kind, value)
    if found is None:
        raise UnmergeError(f"'{said}' is no identifier; write KIND:VALUE, as user_id:u-17")
    return found
