"""What OneSignal takes as a notification, and in which words it refuses one. Pure.

Source: documentation.onesignal.com/reference: push-notification, idempotent-notification-requests. Of the
vendor's ways to name people this knows one, `include_aliases.external_id`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from uuid import RFC_4122, UUID

import orjson

MAX_ALIASES: Final = 20_000
MAX_DATA_BYTES: Final = 2_048
#: OneSignal documents UUIDs of these versions for idempotency keys.
KEY_VERSIONS: Final = (3, 4)

#: The vendor's own words, two blanks included: its client libraries compare them.
ACCESS_DENIED: Final = (
    "Access denied.  Please include an 'Authorization: ...' header with a valid API key "
    "(https://documentation.onesignal.com/docs/en/keys-and-ids#api-keys)."
)

_OTHER_TARGETS: Final = frozenset(
    ["excluded_segments", "filters", "include_subscription_ids", "included_segments"]
)
_FIELDS: Final = _OTHER_TARGETS | frozenset(
    [
        "adm_big_picture",
        "adm_group",
        "adm_group_message",
        "adm_large_icon",
        "adm_small_icon",
        "adm_sound",
        "android_accent_color",
        "android_background_layout",
        "android_channel_id",
        "android_group",
        "android_group_message",
        "android_led_color",
        "android_sound",
        "android_visibility",
        "apns_alert",
        "apns_push_type_override",
        "app_id",
        "app_url",
        "big_picture",
        "buttons",
        "chrome_big_picture",
        "chrome_icon",
        "chrome_web_badge",
        "chrome_web_icon",
        "chrome_web_image",
        "collapse_id",
        "content_available",
        "contents",
        "custom_data",
        "data",
        "delayed_option",
        "delivery_time_of_day",
        "enable_frequency_cap",
        "existing_android_channel_id",
        "external_id",
        "firefox_icon",
        "headings",
        "huawei_accent_color",
        "huawei_badge_add_num",
        "huawei_badge_class",
        "huawei_badge_set_num",
        "huawei_bi_tag",
        "huawei_big_picture",
        "huawei_category",
        "huawei_channel_id",
        "huawei_existing_channel_id",
        "huawei_large_icon",
        "huawei_msg_type",
        "huawei_small_icon",
        "huawei_sound",
        "huawei_visibility",
        "idempotency_key",
        "include_aliases",
        "ios_attachments",
        "ios_badgeCount",
        "ios_badgeType",
        "ios_category",
        "ios_interruption_level",
        "ios_relevance_score",
        "ios_sound",
        "isAdm",
        "isAndroid",
        "isAnyWeb",
        "isChrome",
        "isChromeWeb",
        "isFirefox",
        "isHuawei",
        "isIos",
        "isSafari",
        "isWP_WNS",
        "large_icon",
        "mutable_content",
        "name",
        "priority",
        "send_after",
        "small_icon",
        "subtitle",
        "summary_arg",
        "summary_arg_count",
        "target_channel",
        "target_content_identifier",
        "template_id",
        "thread_id",
        "throttle_rate_per_minute",
        "ttl",
        "url",
        "web_buttons",
        "web_push_topic",
        "web_url",
    ]
)


class Refused(Exception):
    """A request without effect. `reason` is the counter it goes under, the message what the sender is told."""

    def __init__(self, reason: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class Notification(NamedTuple):
    """One accepted request: to whom, and what comes back in the event stream."""

    external_ids: tuple[str, ...]
    key: str | None
    data: dict[str, Any]
    name: str | None
    template_id: str | None


def read_notification(body: bytes, app_id: str) -> Notification:
    """Raises `Refused` on the first thing that the vendor would refuse."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused("malformed", "The request body is not valid JSON") from None
    if not isinstance(said, dict):
        raise Refused("malformed", "The request body is not a JSON object")
    if unknown := sorted(set(said) - _FIELDS):
        raise Refused("unknown_field", f"Unrecognized parameter: {unknown[0]}")
    if said.get("app_id") != app_id:
        raise Refused("app_id", "app_id not found. Copy it from the app's Keys & IDs page.")
    _check_contents(said)
    return Notification(
        external_ids=_external_ids(said),
        key=_key(said),
        data=_data(said),
        name=_text(said, "name"),
        template_id=_text(said, "template_id"),
    )


def _check_contents(said: dict[str, Any]) -> None:
    contents = said.get("contents")
    if contents is None and said.get("template_id"):
        return
    if not isinstance(contents, dict) or not isinstance(contents.get("en"), str) or not contents["en"]:
        raise Refused("contents", "Message Notifications must have Any/English language content")


def _external_ids(said: dict[str, Any]) -> tuple[str, ...]:
    if others := sorted(_OTHER_TARGETS & set(said)):
        raise Refused("target", f"include_aliases may not be combined with {others[0]}")
    aliases = said.get("include_aliases")
    if aliases is None:
        raise Refused(
            "target",
            "You must include which players, segments, or tags you wish to send this notification to.",
        )
    ids = (
        aliases.get("external_id") if isinstance(aliases, dict) and set(aliases) == {"external_id"} else None
    )
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) and one for one in ids):
        raise Refused("target", "include_aliases.external_id must be an array of non empty strings")
    if len(ids) > MAX_ALIASES:
        raise Refused(
            "too_many", f"include_aliases may not have more than {MAX_ALIASES} entries, not {len(ids)}"
        )
    if said.get("target_channel") != "push":
        raise Refused(
            "target_channel", "target_channel is required with include_aliases, and must be push here"
        )
    # A person named twice in one notification gets it once.
    return tuple(dict.fromkeys(ids))


def _key(said: dict[str, Any]) -> str | None:
    # The key's former name still works.
    given = said.get("idempotency_key", said.get("external_id"))
    if given is None:
        return None
    try:
        key = UUID(given) if isinstance(given, str) and len(given) == len(str(UUID(int=0))) else None
    except ValueError:
        key = None
    if key is None or key.variant != RFC_4122 or key.version not in KEY_VERSIONS:
        raise Refused("idempotency_key", "idempotency_key must be a UUID of version 3 or 4")
    return str(key)


def _data(said: dict[str, Any]) -> dict[str, Any]:
    data = said.get("data")
    if data is None:
        return {}
    if not isinstance(data, dict) or len(orjson.dumps(data)) > MAX_DATA_BYTES:
        raise Refused("data", f"data must be an object of at most {MAX_DATA_BYTES} bytes")
    return data


def _text(said: dict[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(name, f"{name} must be a string")
    return value
