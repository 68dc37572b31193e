"""A workspace file with a mistake is refused whole, and the refusal names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.definitions import WorkspaceError
from runtime.workspace_file import read_workspace

HEAD = """workspace: shop
feeds:
  app: {format: segment, secret: {env: KEY}}
audiences:
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("  a:\n    match:\n      event: A\n      witin: 7d\n", ":8: audiences.a.match.witin: "),
        (
            "  a:\n    match:\n      all:\n        - event: A\n        - {event: B, within: 3x}\n",
            ":9: audiences.a.match.all.1",
        ),
        ("  a: {match: {event: A}}\n  b: {match: {in_audience: c}}\n", ":6: audience 'b' refers to 'c'"),
        ("  a: {match: {in_audience: b}}\n  b: {match: {in_audience: a}}\n", "in a circle"),
        ("  a: [\n", "not YAML"),
    ],
)
def test_the_line_of_a_mistake_is_named(tmp_path: Path, rest: str, said: str) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(HEAD + rest)
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


CAP = "cap: [{at_most: 3, within: 1d}]"
CHANNELS = """workspace: shop
feeds:
  app: {format: segment, secret: {env: KEY}}
channels:
  phone:
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("    cap: [{at_most: 0, within: 1d}]\n", ":6: channels.phone.cap.0.at_most: "),
        (
            "    cap:\n      - {at_most: 3, within: 1x}\n",
            ":7: channels.phone.cap.0.within: '1x' is not a length",
        ),
        (
            "    quiet:\n      from: 21:00\n      to: '08:00'\n      zone: UTC\n",
            ':7: channels.phone.quiet.from: Value error, write the time in quotes: "21:00"',
        ),
        (
            "    quiet: {from: '21:00', to: '8:00', zone: UTC}\n",
            ":6: channels.phone.quiet.to: Value error, '8:00' is no time of day",
        ),
        (
            "    quiet:\n      from: '21:00'\n      to: '08:00'\n      zone: Europe/Berlim\n",
            ":9: channels.phone.quiet.zone: Value error, 'Europe/Berlim' is no time zone",
        ),
        (
            "    quiet: {from: '21:00', to: '21:00', zone: UTC}\n",
            ":6: channels.phone.quiet: Value error, quiet hours",
        ),
        ("    cap: []\n", ":5: channels.phone: Value error, a channel has a 'cap', or 'quiet' hours"),
        (
            f"    {CAP}\nconnections:\n  out: {{connector: nats, events: [A], fields: {{}}, channel: s}}\n",
            ":8: connections.out.channel: connection 'out' names channel 's', which is not declared",
        ),
    ],
)
def test_the_line_of_a_channels_mistake_is_named(tmp_path: Path, rest: str, said: str) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(CHANNELS + rest)
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(file)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("  login: moves\n", ":5: identity.login: Input should be 'joins' or 'begins_anew'"),
        ("  match: closest\n", ":5: identity.match: Input should be 'priority' or 'best'"),
    ],
)
def test_an_unknown_strategy_is_refused_with_those_that_there_are(
    tmp_path: Path, rest: str, said: str
) -> None:
    file = tmp_path / "roundtrip.yaml"
    head = "workspace: shop\nfeeds:\n  app: {format: segment, secret: {env: KEY}}\n"
    file.write_text(head + "identity:\n" + rest)
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(file)
    assert said in str(caught.value)


NIGHTLY = """  pros: {match: {attribute: plan, is: pro}}
connections:
  nightly:
    connector: CONNECTOR
    fields: {user: identifier.user_id}
    settings: {url: "s3://bucket/folder"}
"""


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("audience: pros\n    schedule: 0 6 * * *", "a 'schedule' needs a 'mode'"),
        ("audience: pros\n    mode: diff", "say when by 'schedule'"),
        ("audience: pros\n    mode: diff\n    schedule: daily", "schedule 'daily' is not cron's syntax"),
        ("audience: pros\n    mode: diff\n    schedule: ''", "say when by 'schedule'"),
        ("events: [Order Completed]\n    schedule: ''", "schedule '' is not cron's syntax"),
        (
            "audience: pros\n    mode: diff\n    schedule: 0 6 * * *\n    timezone: Mars",
            "timezone 'Mars' is not known",
        ),
        ("audience: pros\n    timezone: Europe/Berlin", "'timezone' is that of a 'schedule'"),
        (
            "events: [Order Completed]\n    mode: diff\n    schedule: 0 6 * * *",
            "'mode' is of a connection that sends an",
        ),
    ],
)
def test_a_connection_that_does_not_say_what_it_sends_when_is_refused(
    tmp_path: Path, declared: str, said: str
) -> None:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(HEAD + NIGHTLY.replace("CONNECTOR", "files") + f"    {declared}\n")
    with pytest.raises(WorkspaceError) as caught:
        read_workspace(file)
    assert f"{file}:7: connections.nightly: " in str(caught.value)
    assert said in str(caught.value)


def test_a_snapshot_for_a_destination_that_takes_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "roundtrip.yaml"
    named = NIGHTLY.replace("CONNECTOR", "nats_subject")
    file.write_text(HEAD + named + "    audience: pros\n    mode: snapshot\n    schedule: 0 6 * * *\n")
    with pytest.raises(WorkspaceError, match=r":7: .*does not take snapshots of an audience; .*: files"):
        read_workspace(file)
