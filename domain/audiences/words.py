"""The base of every part of a definition: only known words, and a refusal that says what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


def refusal(problem: str, word: object = "") -> PydanticCustomError:
    """A validation error that carries `problem` as its whole message; raise it inside a validator.

    `word` is which word of the part it is about, where it is about one.
    """
    return PydanticCustomError("audience", "{problem}", {"problem": problem, "word": str(word)})


def suggestion(word: object, known: Iterable[str]) -> str:
    """`did you mean 'within'? ` where a known word is close to this one, else nothing."""
    close = get_close_matches(str(word), list(known), n=1)
    return f"did you mean '{close[0]}'? " if close else ""


def text(value: Any) -> Any:
    """Lets only text through that is not empty; YAML reads unquoted 2026 and yes as something else."""
    if not isinstance(value, str) or not value:
        raise refusal(
            f"{value!r} is not text: write at least one character, in quotes where it looks like a number"
        )
    return value


class Part(BaseModel):
    """A part of a definition: immutable, with no word that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _knows_every_word(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for word, meaning in value.items():
            if word not in known:
                raise refusal(
                    f"'{word}' is not known here: {suggestion(word, known)}"
                    f"the words that can stand here are {', '.join(known)}",
                    word,
                )
            if meaning is None:
                raise refusal(
                    f"'{word}' is empty: give it a value or leave it out (what a person does not have is "
                    "found with exists: false)",
                    word,
                )
        return value
