"""The environment variables of the process. They are read here only: `cli` and `api` hand on what others need."""

import os
from collections.abc import MutableMapping

__all__ = ["ENVIRONMENT"]

ENVIRONMENT: MutableMapping[str, str] = os.environ
