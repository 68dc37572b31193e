"""Right before data leaves, only what tells a destination something of a person needs their consent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from domain.outbound import Change, Outbound
from runtime.delivery.consent import without_consent


async def _only_ann(purpose: str, profiles: Sequence[str]) -> set[str]:
    """Bob consents to no push, and Cleo has been erased."""
    return ({"ann"} if purpose else {"ann", "bob"}) & set(profiles)


@pytest.mark.parametrize(
    ("change", "purpose", "refused"),
    [
        ("add", "push", {"bob", "cleo"}),
        ("event", "push", {"bob", "cleo"}),
        ("update", "push", {"bob", "cleo"}),
        ("remove", "push", set()),
        ("delete", "push", set()),
        ("event", "", {"cleo"}),
        ("remove", "", set()),
    ],
)
def test_who_does_not_consent_or_has_been_erased_is_told_of_to_nobody(
    change: Change, purpose: str, refused: set[str]
) -> None:
    records = [
        Outbound(
            id=person,
            connection="c",
            batch="b",
            profile=person,
            audience="",
            change=change,
            fields={},
            cause=1,
            purpose=purpose,
        )
        for person in ("ann", "bob", "cleo")
    ]
    assert asyncio.run(without_consent(_only_ann, records)) == refused
