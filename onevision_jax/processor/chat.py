"""Renders a conversation with the folder's own Jinja chat template, in a sandbox.

The environment is transformers' (trim_blocks, lstrip_blocks, loop controls, `tojson`,
`raise_exception`, `strftime_now`, `{% generation %}`), so a template renders to the same text. A
template comes with a checkpoint, from strangers: it runs in Jinja's immutable sandbox and is only
given plain strings, numbers, lists and dicts, never an image object whose methods it could call.
"""

import dataclasses
import datetime
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from onevision_jax.errors import InputError
from onevision_jax.processor import folder

Message = Mapping[str, Any]
"""{"role": str, "content": str or list of {"type": "text", "text": ...} / {"type": "image"}}."""


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A chat template and where it came from."""

    source: str
    origin: str = "chat template"
    """File name, for messages."""
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What every rendering sees, e.g. eos_token."""

    def __post_init__(self) -> None:
        try:
            _compile(self.source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise InputError(f"{self.origin} is not a Jinja template ({error}); fix it") from error

    @classmethod
    def find(
        cls, path: str | pathlib.Path, variables: Mapping[str, Any] | None = None
    ) -> "ChatTemplate | None":
        """Looks in chat_template.jinja, chat_template.json, tokenizer_config.json, in this order.

        Returns None when none of them has a template; raises InputError when it is not one.
        """
        path = pathlib.Path(path)
        source = folder.read_text(path / "chat_template.jinja")
        if source is not None:
            return cls(source, str(path / "chat_template.jinja"), variables or {})
        for name in ("chat_template.json", "tokenizer_config.json"):
            found = (folder.read_json(path / name) or {}).get("chat_template")
            if found is not None:
                return cls(_default(found, path / name), str(path / name), variables or {})
        return None

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The text of a conversation; further variables go to the template, e.g. add_vision_id.

        Raises:
            InputError: the messages are malformed, or the template refuses them or fails.
        """
        arguments = {"tools": None, "documents": None, **self.variables, **variables}
        arguments["messages"] = [_plain_message(i, message) for i, message in enumerate(messages)]
        arguments["add_generation_prompt"] = add_generation_prompt
        try:
            return _compile(self.source).render(**arguments)
        except Exception as error:  # Template code fails like any code.
            raise InputError(
                f"{self.origin} cannot render these messages ({error}); change them or the template"
            ) from error


def _plain_message(index: int, message: Message) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InputError(f'message {index} has no "role"; give {{"role": ..., "content": ...}}')
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        if not all(isinstance(item, Mapping) for item in content):
            raise InputError(f'message {index} has a content item that is not {{"type": ...}}')
    elif content is not None and not isinstance(content, str):
        raise InputError(
            f"message {index} has content of type {type(content).__name__}; give a string or a list"
        )
    return _plain(message)


def _plain(value: Any) -> Any:
    """A copy made of JSON's types only; an object such as an image becomes its type's name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return type(value).__name__


def _default(template: Any, file: pathlib.Path) -> str:
    """A template is a string, or several named ones, of which "default" is taken."""
    if isinstance(template, list):
        named = [item for item in template if isinstance(item, dict)]
        template = {item.get("name"): item.get("template") for item in named}
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise InputError(f'{file} has no chat template named "default"; add one')
    return template


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}` marks assistant text; here it only groups."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own spelling)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


@functools.lru_cache(maxsize=16)  # Not kept in ChatTemplate: that one is sent to data workers.
def _compile(source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter escapes `<`, `>` and `&` for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
