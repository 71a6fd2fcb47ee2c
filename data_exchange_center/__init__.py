"""The contract of offline and online: settings, recipes, artifacts, features, releases."""

from typing import Final

VERSION: Final = "0.1.0"  # of the project; here, as the images hold its code and not its package
