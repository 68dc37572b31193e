"""Erasing a person: asks for it in the log, waits until every reader has done its part, and certifies that.

Asked again, it goes on where it was: what is done is done, and the certificate is the same but for what was pending.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text

from adapters.log.append import append
from adapters.log.read import read_positions
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph
from domain.erasure import EraseRequest, request_entry
from domain.identifiers import read_identifier
from domain.records import Identifier, derive_id, node_id
from runtime.definitions import Definitions
from runtime.erasures import EraseError, certificate, pending
from runtime.failpoints import failpoint
from runtime.identity_rules import rules_of
from runtime.leading import lead_alone
from runtime.requested import answer_to, wait_for

if TYPE_CHECKING:
    # What reads the lake takes 60 MB, and whoever only asks for an erasure does not need it.
    from adapters.history.tables import History


def parse_identifier(said: str) -> Identifier:
    """`kind:value`, as `email:ann@example.com`. Raises `EraseError`."""
    kind, colon, value = said.partition(":")
    found = read_identifier(kind, value) if kind and colon else None
    if found is None:
        raise EraseError("this is no identifier; write KIND:VALUE, as user_id:u-17 or email:ann@example.com")
    return found


def request_erasure(connection: Connection, identifier: Identifier, asked_by: str) -> str:
    """Asks for the person's erasure, once for as long as there is somebody; the erasure's id.

    Raises `EraseError` where nobody is, or ever was, known by the identifier.
    """
    node = node_id(identifier)
    if not load_graph(connection, [node]):
        # A vendor's id of a declared kind is somebody's by that kind's name.
        node = node_id(rules_of(load_workspace(connection)).meant(identifier))
    row = connection.execute(
        text(
            "SELECT k.erased_at, k.wrapped IS NOT NULL OR EXISTS (SELECT FROM identity WHERE node = n.node) AS known"
            " FROM (SELECT CAST(:node AS uuid) AS node) n LEFT JOIN subject_key k ON k.subject = n.node"
        ),
        {"node": node},
    ).one()
    if not row.known:
        if row.erased_at is None:
            raise EraseError("nobody is known by this identifier, so there is nobody to erase")
        [last] = read_positions(connection, [row.erased_at])
        return last.stream_id
    id = derive_id("erasure", node, str(row.erased_at or 0))
    asked = hashlib.sha256(asked_by.encode()).hexdigest()
    append(connection, [request_entry(EraseRequest(id=id, node=node, asked_by=asked))])
    return id


def erase_person(
    engine: Engine,
    definitions: Definitions,
    history: History,
    identifier: Identifier,
    asked_by: str,
    wait_s: float,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The certificate. Waits at most `wait_s` seconds for each of those who have to do their part; what is not
    done by then is `pending` in it, and is done when they run. Raises `EraseError`."""
    with engine.begin() as connection:
        id = request_erasure(connection, identifier, asked_by)
    failpoint("erase.requested")
    report("asked for in the log; waiting for the pipeline")
    lead_alone(engine, definitions, lambda: answer_to(engine, id) is not None)
    if not wait_for(lambda: answer_to(engine, id) is not None, wait_s):
        raise EraseError("the pipeline does not get to it; see that `roundtrip pipeline` runs, and ask again")
    failpoint("erase.erased")
    row = answer_to(engine, id)
    assert row is not None
    report("keys destroyed, projections removed; waiting for NATS, the lake and the destinations")
    wait_for(lambda: not pending(engine, history, row), wait_s)
    return certificate(engine, history, id)
