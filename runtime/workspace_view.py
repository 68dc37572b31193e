"""The workspace as the door sees it: write keys and webhook secrets, read from where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from domain.tracking_plan import plans_of_feeds
from domain.workspace import SecretRef, Workspace
from feeds.feed import feed_format
from feeds.segment import parse_message
from runtime.identity_rules import rules_of
from runtime.ports import Parse, Webhook, WorkspaceView

#: The one feed format that is an API of its own and not a webhook.
SEGMENT = "segment"


def view_of(workspace: Workspace | None, environ: Mapping[str, str]) -> WorkspaceView:
    """A feed whose secret is not to be had takes nothing in, and says so; the others are not touched by it."""
    write_keys: dict[str, str] = {}
    webhooks: dict[str, Webhook] = {}
    unusable: dict[str, str] = {}
    parsers: dict[str, Parse] = {}
    for name, feed in (workspace.feeds if workspace is not None else {}).items():
        if feed.secret is None:
            continue
        try:
            format = None if feed.format == SEGMENT else feed_format(feed.format)
        except LookupError as error:
            unusable[name] = str(error)
            continue
        parsers[name] = parse_message if format is None else format.parse
        secret, missing = read_secret(feed.secret, environ)
        if missing:
            unusable[name] = missing
        elif format is None:
            write_keys[secret] = name
        else:
            webhooks[name] = Webhook(format, secret)
    clock = workspace.clock if workspace else "wall"
    plans = plans_of_feeds(workspace.tracking_plans) if workspace else {}
    return WorkspaceView(write_keys, webhooks, clock, unusable, parsers, plans, rules_of(workspace))


def read_secret(ref: SecretRef, environ: Mapping[str, str]) -> tuple[str, str]:
    """The secret, and what is missing where there is none."""
    if ref.env is not None:
        secret = environ.get(ref.env, "").strip()
        return secret, "" if secret else f"the environment variable {ref.env} is not set"
    assert ref.file is not None
    try:
        secret = Path(ref.file).expanduser().read_text().strip()
    except OSError as error:
        return "", f"the file {ref.file} cannot be read ({type(error).__name__})"
    return secret, "" if secret else f"the file {ref.file} is empty"
