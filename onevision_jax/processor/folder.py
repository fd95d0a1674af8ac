"""Reads the JSON and text files of a model folder; a fault is said in one sentence."""

import json
import pathlib
from typing import Any

from onevision_jax.errors import InputError


def read_text(path: pathlib.Path) -> str | None:
    """The UTF-8 text of a file, None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InputError(
                f"model folder {str(path.parent)!r} does not exist; check the path"
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text ({error}); replace it") from error


def read_json(path: pathlib.Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no such file."""
    text = read_text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); replace it") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, not an object; replace it")
    return value
