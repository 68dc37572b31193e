"""Loops as they are declared: what is refused, and which could feed themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.mirrors import Pair
from runtime.definitions import WorkspaceError, plan_of
from runtime.workspace_file import read_workspace
from runtime.workspace_plan import circles_of, notes_of

PUSH = {"connector": "onesignal", "fields": {"external_id": "identifier.user_id"}}
PUSH |= {
    "settings": {"app_id": "8250eaf6-1a58-489e-b136-7c74a864b434", "contents": {"en": "Hello"}},
    "secrets": {"api_key": {"env": "KEY"}},
}


def workspace(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "workspace": "shop",
        "feeds": {
            "app": {"format": "segment", "secret": {"env": "KEY"}},
            "push_events": {"format": "onesignal", "secret": {"env": "KEY"}},
        },
        "audiences": {
            "newcomers": {"match": {"event": "App Installed"}},
            "ignored": {
                "match": {"event": "Push Sent", "then_none": [{"event": "Push Opened"}], "within": "1d"}
            },
            "keen": {"match": {"all": [{"in_audience": "ignored"}, {"event": "Order Completed"}]}},
        },
        "connections": {
            "welcome": PUSH | {"audience": "newcomers"},
            "again": PUSH | {"audience": "ignored"},
        },
        "loops": {
            "retarget": {
                "hops": [
                    {
                        "audience": "newcomers",
                        "connection": "welcome",
                        "feed": "push_events",
                        "then": [{"audience": "ignored", "connection": "again"}],
                    }
                ]
            }
        },
    }
    return said | changes


def read(tmp_path: Path, said: dict[str, Any]) -> Any:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(yaml.safe_dump(said, sort_keys=False))
    return read_workspace(file)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KEY", "secret")


def hop(**changes: Any) -> dict[str, Any]:
    return {"audience": "newcomers", "connection": "welcome", "feed": "push_events"} | changes


def test_a_loop_that_ends_somewhere_does_not_feed_itself(tmp_path: Path) -> None:
    said = read(tmp_path, workspace())
    assert circles_of(said) == []
    assert notes_of(said) == []


def test_a_loop_whose_own_engagement_fills_it_again_is_found(tmp_path: Path) -> None:
    again = hop(audience="ignored", connection="again")
    [circle] = circles_of(read(tmp_path, workspace(loops={"nagging": {"hops": [again]}})))
    assert circle == ("again", ("ignored",))


def test_a_circle_through_other_loops_is_found_with_its_way(tmp_path: Path) -> None:
    said = workspace()
    said["audiences"]["newcomers"] = {"match": {"event": "Push Bounced"}}
    said["audiences"]["sleeping"] = {"match": {"in_audience": "keen"}}
    said["connections"]["third"] = PUSH | {"audience": "sleeping"}
    said["loops"] = {
        "one": {"hops": [hop()]},
        "two": {"hops": [hop(audience="sleeping", connection="third")]},
    }
    found = circles_of(read(tmp_path, said))
    assert ("welcome", ("newcomers",)) in found
    assert ("third", ("sleeping", "ignored", "keen")) in found


def test_a_hop_that_goes_by_nothing_that_comes_back_is_named(tmp_path: Path) -> None:
    said = workspace()
    said["audiences"]["ignored"] = {"match": {"event": "Email Opened"}}
    [note] = notes_of(read(tmp_path, said))
    assert "audience 'ignored' asks for none of the events that come back from connection 'welcome'" in note


MISTAKES = [
    (hop(connection="wellcome"), "loop 'l' names connection 'wellcome', which is not declared"),
    (hop(connection="again"), "but that connection sends audience 'ignored'"),
    (hop(feed="pushes"), "loop 'l' names feed 'pushes', which is not declared"),
    (hop(feed="app"), "comes back by a feed of the format onesignal; feed 'app' is of the format segment"),
    ({"audience": "newcomers", "connection": "welcome", "then": [hop()]}, "name the 'feed' that brings"),
]


@pytest.mark.parametrize(("first", "told"), MISTAKES)
def test_a_mistaken_loop_is_refused_with_what_would_be_right(
    tmp_path: Path, first: dict[str, Any], told: str
) -> None:
    with pytest.raises(WorkspaceError, match=r"roundtrip\.yaml:[1-9]\d+: loops\.l") as refused:
        read(tmp_path, workspace(loops={"l": {"hops": [first]}}))
    assert told in str(refused.value)


CRM = {
    "connector": "hubspot",
    "audience": "newcomers",
    "fields": {
        "email": "identifier.email",
        "city": "attribute.town",
        "token": {"from": "attribute.token", "hash": "sha256"},
        "country": {"constant": "AT"},
    },
    "requires": ["email"],
    "settings": {"membership_property": "is_new", "app_id": 54321},
    "secrets": {"access_token": {"env": "KEY"}},
}


def with_crm(**settings: Any) -> dict[str, Any]:
    said = workspace(loops={"l": {"hops": [hop(connection="sales", feed="crm")]}})
    said["feeds"]["crm"] = {"format": "hubspot", "secret": {"env": "KEY"}}
    said["connections"]["sales"] = CRM | {"settings": {"membership_property": "is_new"} | settings}
    return said


def test_a_crm_paired_with_its_feed_brings_back_what_is_an_attribute_as_it_was_sent(tmp_path: Path) -> None:
    plan = plan_of(read(tmp_path, with_crm(app_id=54321)))
    own = {"changeSource": "INTEGRATION", "sourceId": "54321"}
    assert plan.pairs == {"crm": (Pair("sales", {"city": "town"}, own),)}
    told = {one.connection: one.mirrored for one in plan.destinations["newcomers"]}
    assert told == {"welcome": frozenset(), "sales": frozenset({"city"})}


def test_a_crm_whose_changes_by_us_could_not_be_told_is_not_paired(tmp_path: Path) -> None:
    with pytest.raises(
        WorkspaceError, match=r"loops\.l: connection 'sales': settings\.app_id is missing, or no number"
    ):
        read(tmp_path, with_crm())
    with pytest.raises(WorkspaceError, match=r"settings\.app_id is no number"):
        read(tmp_path, with_crm(app_id="my app"))


def test_hops_may_not_follow_one_another_for_ever(tmp_path: Path) -> None:
    first = hop()
    for _ in range(20):
        first = hop(then=[first])
    with pytest.raises(WorkspaceError, match="make two loops of it"):
        read(tmp_path, workspace(loops={"l": {"hops": [first]}}))


def test_a_few_bytes_of_yaml_make_no_endless_loop(tmp_path: Path) -> None:
    said = yaml.safe_dump(workspace(loops={}) | {"loops": None}).replace("loops: null\n", "")
    one = "audience: newcomers, connection: welcome, feed: push_events"
    wide = "\n".join(
        f"  l{n}: {{hops: [&h{n} {{{one}, then: [{', '.join([f'*h{n - 1}'] * 9)}]}}]}}" for n in range(1, 12)
    )
    file = tmp_path / "roundtrip.yaml"
    for loops in (f"  l0: {{hops: [&h0 {{{one}}}]}}\n{wide}", f"  l: {{hops: [&h {{{one}, then: [*h]}}]}}"):
        file.write_text(f"{said}loops:\n{loops}\n")
        with pytest.raises(WorkspaceError, match="make two loops of it"):
            read_workspace(file)


def test_the_examples_loop_does_not_feed_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUSH_URL", "ADS_URL", "PUSH_API_KEY", "ADS_TOKEN"):
        monkeypatch.setenv(f"ROUNDTRIP_{name}", "https://example.com")
    found = read_workspace(Path(__file__).parents[2] / "examples/push-retarget/roundtrip.yaml")
    assert found.loops
    assert (circles_of(found), notes_of(found)) == ([], [])
