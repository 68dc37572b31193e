"""A connection's settings and secrets from the environment and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.connectors.configuration import ConfigurationError, resolve
from domain.workspace import Connection, SecretRef


def declared(**more: object) -> Connection:
    return Connection.model_validate(
        {"connector": "onesignal", "audience": "new", "fields": {"external_id": "identifier.user_id"}, **more}
    )


def test_variables_are_filled_in_at_any_depth() -> None:
    definition = declared(
        settings={"base_url": "${URL}/api", "a": [{"b": "${X}${X}"}], "n": 7, "price": "$5"}
    )

    config = resolve("push", definition, {"URL": "http://127.0.0.1:8", "X": "y"})

    assert config.settings == {
        "base_url": "http://127.0.0.1:8/api",
        "a": [{"b": "yy"}],
        "n": 7,
        "price": "$5",
    }


def test_a_filled_in_value_is_not_filled_in_again() -> None:
    assert resolve("push", declared(settings={"a": "${A}"}), {"A": "${B}"}).settings == {"a": "${B}"}


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    secrets = {"a": SecretRef(env="A"), "b": SecretRef(file=str(tmp_path / "token"))}

    assert resolve("push", declared(secrets=secrets), {"A": "from-env"}).secrets == {
        "a": "from-env",
        "b": "from-file",
    }


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    definition = declared(
        settings={"base_url": "${URL}", "deep": {"x": "${OTHER}"}},
        secrets={
            "a": SecretRef(env="A"),
            "b": SecretRef(file=str(tmp_path / "absent")),
            "c": SecretRef(file=str(tmp_path / "empty")),
        },
    )

    with pytest.raises(ConfigurationError) as caught:
        resolve("push", definition, {"OTHER": "", "PRESENT": "value"})

    message = str(caught.value)
    assert message.startswith("connection 'push' cannot be used: ")
    for part in ("variable URL", "settings.deep.x", "variable OTHER", "variable A", "absent", "empty"):
        assert part in message
    assert "value" not in message
