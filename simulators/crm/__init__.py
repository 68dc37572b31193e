"""HubSpot as a CRM in which people work: its API (`simulators/vendors/hubspot.py`), webhooks of every change,
and an export of all contacts."""
