"""Destinations' servers, all in one process: `/braze/…` behaves as Braze's API does, `/hubspot/…` as HubSpot's.

One file a vendor, written from the vendor's own documentation, which it names. What a vendor holds can be read at
`/<vendor>/simulate/held`; faults and rate limits are scripted at `/<vendor>/simulate/faults` and `/limit`. SendGrid and
Twilio tell a webhook what became of their messages (`courier.py`).
"""
