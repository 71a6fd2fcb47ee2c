"""For every test: an example is judged by what it finds, not by how long a busy machine takes for it."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
