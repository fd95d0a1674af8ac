"""Parsers that come with an extra."""

import importlib
from typing import Any

from onevision_jax.errors import InputError


def need(module: str, what: str) -> Any:
    """The module, or an error that names the extra it comes with."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} needs {module.split('.', maxsplit=1)[0]}; install it with "
            "pip install 'onevision-jax[formal]'"
        ) from error
