"""An ad platform that behaves as Meta's Custom Audiences do: people in and out of an audience, by hashes."""
