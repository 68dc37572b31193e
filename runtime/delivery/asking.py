"""Asking a connector, whose code may be somebody else's: a defect of it is an answer, and ends no worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Judgement, RenderError, Request
from domain.outbound import Outbound

#: What a defect in a connector's own code shows itself as.
_DEFECTS: Final = (ValueError, LookupError, TypeError, AttributeError)

log = structlog.get_logger("deliver")


def render(
    connector: Connector, config: ConnectorConfig, records: Sequence[Outbound]
) -> tuple[list[Request], str]:
    """The requests for these records, and why a record is in none of them."""
    try:
        requests = connector.render(config, records) if records else []
    except RenderError as error:
        return [], str(error)
    except _DEFECTS as error:
        return [], _defect(config, "render", error)
    return requests, f"connector '{config.name}' can make no request of its fields"


def judge(
    connector: Connector, config: ConnectorConfig, request: Request, answer: Answer
) -> tuple[list[Judgement], list[Request]]:
    """What the destination's answer means for each record, and the requests that have to follow."""
    try:
        return connector.judge(config, request, answer), connector.follow(config, request, answer)
    except _DEFECTS as error:
        reason = _defect(config, "judge", error)
        return [Judgement(one, "dead", reason) for one in request.outbound], []


def _defect(config: ConnectorConfig, step: str, error: Exception) -> str:
    # Neither message nor traceback is logged: both may hold the record's values.
    kind = type(error).__name__
    log.error("connector failed", connection=config.name, step=step, error=kind)
    return f"the connector's {step} failed ({kind}); this is a defect of the connector"
