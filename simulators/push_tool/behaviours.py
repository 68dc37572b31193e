"""How people take a push, as the script says that is loaded by `POST /simulate/behaviours`.

    [{"external_id": "u-17", "outcome": "delivered", "opens_after_s": 900},
     {"external_id": "u-18", "outcome": "bounced", "opens_after_s": null}]

These are the people that the push tool knows. `"unsubscribes": true` makes a person leave with the last
thing they do.
"""

from __future__ import annotations

from typing import Any, Final

from simulators.push_tool.events import Behaviour

_NAMES: Final = frozenset(Behaviour._fields)
_OUTCOMES: Final = ("delivered", "bounced")
#: A year, in seconds.
_LATEST_OPEN_S: Final = 365 * 86_400


def read_behaviours(body: object) -> list[Behaviour]:
    """Raises `ValueError` naming the entry that is wrong; then none is taken."""
    if not isinstance(body, list):
        raise ValueError("the body is not a JSON list of behaviours")
    return [_read(entry, f"[{index}]") for index, entry in enumerate(body)]


def _read(entry: Any, at: str) -> Behaviour:
    if not isinstance(entry, dict) or not _NAMES.issuperset(entry):
        raise ValueError(f"{at} is not an object of {', '.join(Behaviour._fields)}")
    external_id, outcome = entry.get("external_id"), entry.get("outcome")
    opens, unsubscribes = entry.get("opens_after_s"), entry.get("unsubscribes", False)
    if not isinstance(external_id, str) or not external_id:
        raise ValueError(f"{at}.external_id is no text: write the person's id, as the app knows it")
    if outcome not in _OUTCOMES:
        raise ValueError(f"{at}.outcome {outcome!r} is none: write one of {', '.join(_OUTCOMES)}")
    if opens is not None and (type(opens) is not int or not 0 <= opens <= _LATEST_OPEN_S):
        raise ValueError(
            f"{at}.opens_after_s {opens!r} is no time: write seconds from 0 to {_LATEST_OPEN_S}, or null"
        )
    if type(unsubscribes) is not bool:
        raise ValueError(f"{at}.unsubscribes {unsubscribes!r} is neither true nor false")
    if outcome == "bounced" and (opens is not None or unsubscribes):
        raise ValueError(f"{at} bounces, so it is neither opened nor unsubscribed from: leave these out")
    return Behaviour(external_id, outcome, opens, unsubscribes)
