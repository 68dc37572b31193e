"""The demo's app users: a seeded story of calls, and the truth about what has to come of it."""

from simulators.app_users.people import START, STEP, Person
from simulators.app_users.story import Step, Story, story
from simulators.app_users.truth import Fate, Truth

__all__ = ["START", "STEP", "Fate", "Person", "Step", "Story", "Truth", "story"]
