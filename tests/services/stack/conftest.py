from tests.services.online.conftest import patient, world, worlds  # noqa: F401 (fixtures)
