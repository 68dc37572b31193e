"""A YAML file that somebody wrote: its document, and on which line each part of it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from domain.audiences.definition import path_of


class YamlError(ValueError):
    """The file cannot be read, or is not YAML; the message names the file, and the line where it is known."""


class YamlFile(NamedTuple):
    """What a file says, and where."""

    path: Path
    document: Any
    root: yaml.Node | None

    def line_of(self, location: Sequence[int | str]) -> int:
        """The line, from 1, of the innermost part on the way that the document has."""
        node, line = self.root, 1
        for part in location:
            found = _inside(node, part)
            if found is None:
                continue
            line, node = found
        return line

    def mistakes(self, error: ValidationError, inside: tuple[str, ...] = ()) -> str:
        """What is wrong, one line for each mistake: file, line, way into the document, and what would be right.

        `inside` is the way to the part that was validated.
        """
        told = []
        for one in error.errors():
            said = one.get("ctx", {})
            word = said.get("word")
            way = (*inside, *one["loc"], *said.get("way", ()), *([word] if word else []))
            told.append(f"{self.path}:{self.line_of(way)}: {path_of(way) or 'the file'}: {one['msg']}")
        return "\n".join(told)


def read_yaml(path: Path, missing: str = "no such file") -> YamlFile:
    """Reads a file. Raises `YamlError`, which says `missing` where there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise YamlError(f"{path}: {missing}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"{path}: cannot be read ({error})") from error
    return YamlFile(path, parse_yaml(text, path), yaml.compose(text, yaml.SafeLoader))


def parse_yaml(text: str, path: Path) -> Any:
    """What a file's text says, or JSON's, which is YAML too. Raises `YamlError`."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise YamlError(f"{path}: not YAML: {error}") from error
    except RecursionError:
        raise YamlError(f"{path}: is nested too deep") from None
    except Exception as error:
        # What looks like a date, a number or bytes and is none: PyYAML lets any error of Python's through.
        raise YamlError(f"{path}: a value is not what it looks like ({error}); put it in quotes") from error


def _inside(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found = node.value[part]
        return found.start_mark.line + 1, found
    return None
