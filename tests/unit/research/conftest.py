from tests.unit.extras.replay.conftest import exchange, released  # noqa: F401 (fixtures)
