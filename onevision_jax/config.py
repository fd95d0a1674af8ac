"""Settings: frozen dataclasses in the code, ml_collections files and overrides outside it.

Defaults live once, in the fields of the dataclasses. A config file is Python with a function
`get_config()` that starts from `defaults(SomeSettings)` and changes what differs:

    def get_config():
        config = defaults(SFTConfig)
        config.optimizer.peak_lr = 2e-5
        return config

`load` runs the file, applies `--config.optimizer.peak_lr=3e-5`, and hands back the frozen
dataclass; nothing below the command line ever sees a ConfigDict. A config file is code: run only
files you would run as programs.
"""

import dataclasses
import difflib
import importlib.util
import json
import os
import re
import traceback
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import ml_dtypes  # noqa: F401  (teaches numpy the name "bfloat16")
import numpy as np
from ml_collections import ConfigDict

from onevision_jax.errors import InputError

Settings = TypeVar("Settings")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def defaults(kind: type, /, **changes: Any) -> ConfigDict:
    """The fields of a settings dataclass as a locked ConfigDict; a field without default is None.

    changes: values for some fields, as they would be set in the file.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        values[field.name] = (
            None if default is dataclasses.MISSING else _thaw(hints[field.name], default)
        )
    config = ConfigDict(values).lock()
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def load(kind: type[Settings], path: str | os.PathLike[str], overrides: Sequence[str]) -> Settings:
    """The settings that a config file and overrides (`a.b=value`) describe.

    Raises InputError, naming the file or the override and the field, for a file that cannot be
    run, a key that does not exist and a value of the wrong type.
    """
    config = _run_file(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--config.{key} has no value; write --config.{key}=VALUE")
        _override(kind, config, key.split("."), text, f"--config.{key}={text}: ")
    return freeze(kind, config, f"{path}: ")


def freeze(kind: type[Settings], config: Any, source: str = "") -> Settings:
    """The frozen dataclass that a ConfigDict describes; `source` begins every error."""
    return _freeze(kind, config, "", source)


def to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain JSON values: dtypes are names, tuples are lists."""
    return json.loads(json.dumps(_thaw(type(settings), settings), default=ConfigDict.to_dict))


def describe(settings: Any) -> str:
    """The effective settings, one `name = value` a line; `*` marks what is not the default."""
    usual = dict(_walk(defaults(type(settings)).to_dict()))
    lines = []
    for name, value in _walk(_thaw(type(settings), settings).to_dict()):
        mark = " " if name in usual and usual[name] == value else "*"
        lines.append(f"{mark} {name} = {value!r}")
    return "\n".join(lines)


def write(settings: Any, path: Path) -> None:
    """Stores the effective settings as JSON, whole or not at all."""
    scratch = path.with_name(f".{path.name}.incomplete")
    scratch.write_text(json.dumps(to_dict(settings), indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)


def _run_file(path: Path) -> ConfigDict:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a config file such as configs/sft_debug.py")
    spec = importlib.util.spec_from_file_location("onevision_config_file", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; a config file ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "get_config", None)
        if make is None:
            raise InputError(f"{path} has no function get_config(); see configs/ for examples")
        config = make()
    except InputError:
        raise
    except Exception as error:  # whatever the file does wrong is the file's, not ours
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        where = f", line {lines[-1]}" if lines else ""
        reason = _first_sentence(error)
        if isinstance(error, SyntaxError):
            where, reason = f", line {error.lineno}", error.msg
        raise InputError(f"{path}{where}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{path}: get_config() returned a {type(config).__name__}; start from "
            "onevision_jax.config.defaults(...) and return that"
        )
    return config


def _first_sentence(error: BaseException) -> str:
    """ml_collections' message without its listing of every other field."""
    text = str(error.args[0]) if error.args else type(error).__name__
    first = text.split(" Other fields present")[0].split("\n")[0]
    first = first.replace(" (reference)", "").rstrip(". ").strip("\"'")
    meant = re.search(r'Did you mean "(\w+)"', text)
    return f"{first}; did you mean {meant[1]}?" if meant else first


def _unknown(key: str, known: Sequence[str], source: str) -> str:
    prefix, _, name = key.rpartition(".")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {f'{prefix}.' if prefix else ''}{close[0]}?" if close else ""
    return f"{source}there is no setting {key}; {hint or 'there are ' + ', '.join(known)}"


def _override(
    kind: type, config: ConfigDict, names: list[str], text: str, source: str, prefix: str = ""
) -> None:
    """Sets one field of a ConfigDict from text, checked against the dataclass it stands for."""
    name, *rest = names
    fields = {field.name: field for field in dataclasses.fields(kind)}
    key = f"{prefix}{name}"
    if name not in fields:
        raise InputError(_unknown(key, list(fields), source))
    hint = typing.get_type_hints(kind)[name]
    group = _dataclass_in(hint)
    if group is None and rest:
        raise InputError(f"{source}{key} is one value and has no setting {rest[0]}")
    if group is not None and rest:
        if not isinstance(inner := config.get(name), ConfigDict):
            inner = _set(config, name, defaults(group))
        _override(group, inner, rest, text, source, f"{key}.")
        return
    value = _parse(hint, text)
    if group is not None and value is not None:
        inside = ", ".join(field.name for field in dataclasses.fields(group))
        raise InputError(f"{source}{key} is a group of settings; set one of {inside}")
    _freeze(hint, value, key, source, fields[name].default)
    _set(config, name, value)


def _set(config: ConfigDict, name: str, value: Any) -> Any:
    with config.unlocked(), config.ignore_type():
        config[name] = value
    return config[name]


def _parse(hint: Any, text: str) -> Any:
    """The value that text means for a field of this type; left as text where it means none."""
    options = _options(hint)
    if type(None) in options and text.lower() == "none":
        return None
    for option in options:
        origin = typing.get_origin(option)
        if option is bool and text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
        if origin is Literal:
            return next((c for c in typing.get_args(option) if str(c) == text), text)
        if origin is tuple:
            words = [word.strip().strip("'\"") for word in text.strip("()[] ").split(",")]
            inner = typing.get_args(option)[0]
            return tuple(_parse(inner, word) for word in words if word)
        if origin in (dict, Mapping, types.MappingProxyType) or option is dict:
            try:
                return json.loads(text)
            except ValueError:
                continue
    return text


def _freeze(hint: Any, value: Any, key: str, source: str, default: Any = None) -> Any:
    """The value a field of this type takes; raises InputError naming the field."""
    inner = _dataclass_in(hint)
    if inner is not None and isinstance(value, ConfigDict | Mapping):
        return _freeze_dataclass(inner, value, key, source)
    for option in _options(hint):
        frozen = _as_option(option, value, key, source, default)
        if frozen is not _NO:
            return frozen
    if value is None:
        raise InputError(f"{source}{key} is not set; give --config.{key}=VALUE")
    raise InputError(f"{source}{key} is {value!r}, expected {_wanted(hint)}")


_NO = object()


def _as_option(option: Any, value: Any, key: str, source: str, default: Any) -> Any:
    """`value` as this one type, or _NO."""
    origin = typing.get_origin(option)
    if option is Any:
        return _as_dtype(value) if _is_dtype(default) else value
    if option is type(None):
        return None if value is None else _NO
    if option is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if option is int and isinstance(value, bool):
        return _NO
    if origin is Literal:
        return value if value in typing.get_args(option) else _NO
    if origin is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(option)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(value):
            return _NO
        return tuple(
            _freeze(kind, item, f"{key}[{i}]", source)
            for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin in (dict, Mapping) and isinstance(value, ConfigDict | Mapping):
        return value.to_dict() if isinstance(value, ConfigDict) else dict(value)
    if isinstance(option, type) and origin is None and isinstance(value, option):
        return value
    return _NO


def _freeze_dataclass(kind: type, config: Any, key: str, source: str) -> Any:
    prefix = f"{key}." if key else ""
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in config:
        if name not in known:
            raise InputError(_unknown(f"{prefix}{name}", list(known), source))
    hints = typing.get_type_hints(kind)
    values = {
        name: _freeze(hints[name], config.get(name), f"{prefix}{name}", source, field.default)
        for name, field in known.items()
        if name in config or not _has_default(field)
    }
    try:
        return kind(**values)
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(source) else f"{source}{message}") from None


def _has_default(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _dataclass_in(hint: Any) -> Any:
    """The dataclass among a field's types, or None."""
    return next((option for option in _options(hint) if dataclasses.is_dataclass(option)), None)


def _wanted(hint: Any) -> str:
    words = []
    for option in _options(hint):
        if typing.get_origin(option) is Literal:
            words += [repr(choice) for choice in typing.get_args(option)]
        elif option is type(None):
            words.append("none")
        elif typing.get_origin(option) is tuple:
            inner = [_wanted(kind) for kind in typing.get_args(option) if kind is not Ellipsis]
            words.append(f"a comma-separated list ({', '.join(inner)})")
        elif dataclasses.is_dataclass(option):
            words.append("a group of settings")
        elif option is Any:
            words.append("a dtype such as float32 or bfloat16")
        else:
            words.append(_NAMES.get(option, getattr(option, "__name__", str(option))))
    return " or ".join(words)


def _as_dtype(name: Any) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        return _NO


def _is_dtype(value: Any) -> bool:
    """Whether a default is a dtype, such as np.float32 or jax.numpy.bfloat16."""
    if value is None or value is dataclasses.MISSING or isinstance(value, str | int | float):
        return False
    try:
        np.dtype(value)
    except TypeError:
        return False
    return True


def _thaw(hint: Any, value: Any) -> Any:
    """A setting as it stands in a ConfigDict."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        fields = {
            f.name: _thaw(hints[f.name], getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return ConfigDict(fields).lock()
    if Any in _options(hint) and _is_dtype(value):
        return np.dtype(value).name
    if isinstance(value, tuple):
        return tuple(_thaw(None, item) for item in value)
    return value


def _walk(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
