"""How many examples the property tests draw: `make soak` draws many more."""

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=20_000)
settings.load_profile("default")
