"""Whether what Roundtrip promises holds of what is there: the log, its projections, what goes out, and NATS."""
