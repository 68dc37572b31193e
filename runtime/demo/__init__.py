"""`roundtrip demo`: the reference loop on embedded engines, with simulators in the vendors' place."""
