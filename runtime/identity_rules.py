"""How a workspace tells people apart, made ready."""

from __future__ import annotations

from domain.identifiers import Kind
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.workspace import Workspace


def rules_of(workspace: Workspace | None) -> Rules:
    """The workspace's rules; those of one that says nothing where there is none yet."""
    if workspace is None:
        return DEFAULT_RULES
    kinds = {name: Kind(k.priority, k.limit, k.merges) for name, k in workspace.identifiers.items()}
    return Rules(kinds, workspace.identity.blocked)
