"""A declared import's mapping, checked with the workspace."""

from __future__ import annotations

from pydantic import ValidationError

from domain.imports import Import
from feeds.mapping import Mapping


def check_mapping(declared: Import) -> None:
    """Raises `ValueError` naming what is wrong with it."""
    try:
        mapping = Mapping.model_validate(declared.mapping)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or 'mapping'}: {e['msg']}" for e in error.errors())
        raise ValueError("; ".join(lines)) from None
    if mapping.id and declared.query is not None and declared.query.key:
        raise ValueError("'id' would make each row's next change the same record; leave it out")
