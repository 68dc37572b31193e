"""mParticle's kinds of events in our words: names of Segment's e-commerce specification, shared words for pushes.

Source: docs.mparticle.com/developers/apis/json-reference (event types and their data).
"""

from __future__ import annotations

from typing import Any, Final

from feeds.fields import object_in

#: `product_action.action` → the event of Segment's e-commerce specification.
PRODUCT: Final = {
    "add_to_cart": "Product Added",
    "remove_from_cart": "Product Removed",
    "checkout": "Checkout Started",
    "checkout_option": "Checkout Step Completed",
    "click": "Product Clicked",
    "view_detail": "Product Viewed",
    "purchase": "Order Completed",
    "refund": "Order Refunded",
    "add_to_wishlist": "Product Added to Wishlist",
    "remove_from_wish_list": "Product Removed from Wishlist",
}
PROMOTION: Final = {"view": "Promotion Viewed", "click": "Promotion Clicked"}
PUSH: Final = {"sent": "Push Sent", "received": "Push Delivered", "action": "Push Opened"}


def name_of(kind: str, data: dict[str, Any]) -> Any:
    """The record's name; what has none of its own is `mparticle.<event type>`."""
    match kind:
        case "custom_event":
            return data.get("event_name")
        case "screen_view":
            return data.get("screen_name") or "Screen"
        case "push_message":
            return PUSH.get(str(data.get("push_message_type")), f"mparticle.{kind}")
        case "commerce_event":
            action = object_in(data, "product_action").get("action")
            if action is not None:
                return PRODUCT.get(str(action), f"mparticle.{action}")
            promotion = object_in(data, "promotion_action").get("action")
            if promotion is not None:
                return PROMOTION.get(str(promotion), f"mparticle.{promotion}")
            return "Product List Viewed" if data.get("product_impressions") else f"mparticle.{kind}"
        case _:
            return f"mparticle.{kind}"


def properties_at(kind: str, data: dict[str, Any]) -> str:
    """Where in the event its properties stand."""
    if kind == "commerce_event":
        return "data.product_action" if isinstance(data.get("product_action"), dict) else "data"
    custom = kind in ("custom_event", "screen_view")
    return "data.custom_attributes" if custom and isinstance(data.get("custom_attributes"), dict) else "data"
