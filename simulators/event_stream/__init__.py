"""Airship's Real-Time Data Streaming, as its documentation and its public client libraries describe it."""
