"""Chat templates: where they are found, what they may use, what the sandbox stops."""

import json

import pytest
from PIL import Image

from onevision_jax.errors import InputError
from onevision_jax.processor import ChatTemplate, Processor
from onevision_jax.processor.tiny import CHAT_TEMPLATE

HELLO = [{"role": "user", "content": "hi"}]


def test_own_template_renders_chatml_with_a_default_system_message():
    template = ChatTemplate(CHAT_TEMPLATE)
    assert template.render(HELLO) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "A cat."},
    ]
    assert template.render(messages, add_generation_prompt=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Hi<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
    )
    numbered = template.render(messages, add_vision_id=True)
    assert "Picture 1: <|vision_start|>" in numbered


def test_lookup_order(tmp_path):
    def rendered(**variables) -> str:
        found = ChatTemplate.find(tmp_path, variables)
        assert found is not None
        return found.render(HELLO)

    assert ChatTemplate.find(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "chat_template": [
                    {"name": "tool_use", "template": "wrong"},
                    {"name": "default", "template": "named"},
                ]
            }
        )
    )
    assert rendered() == "named"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "plain"}))
    assert rendered() == "plain"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "json"}))
    assert rendered() == "json"
    (tmp_path / "chat_template.jinja").write_text("jinja {{ eos_token }}\n")
    assert rendered(eos_token="<|im_end|>") == "jinja <|im_end|>"


def test_environment_is_that_of_transformers():
    source = """
{%- for m in messages %}
    {%- if loop.index > 1 %}{% break %}{% endif %}
    {% generation %}
    {{ {"a": "<é>"} | tojson }} {{ strftime_now("%Y") | length }} {{ m.content }}
    {% endgeneration %}
{% endfor %}"""
    assert ChatTemplate(source).render(HELLO * 2) == '    {"a": "<é>"} 4 hi\n'


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_sandbox(source):
    with pytest.raises(InputError, match="cannot render"):
        ChatTemplate(source).render(HELLO)


def test_template_never_gets_the_image_object(tmp_path):
    target = tmp_path / "written.png"
    source = "{{ messages[0].content[0].image.save('" + str(target) + "') }}"
    content = [{"type": "image", "image": Image.new("RGB", (30, 30))}]
    with pytest.raises(InputError, match="cannot render"):
        ChatTemplate(source).render([{"role": "user", "content": content}])
    assert not target.exists()


def test_messages_a_template_refuses():
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", "model/t.jinja")
    with pytest.raises(InputError, match=r"model/t\.jinja cannot render.*roles must alternate"):
        template.render(HELLO)


@pytest.mark.parametrize("source", ["{% if %}", "{{ unclosed", "{% include 'x' %}{% bad %}"])
def test_what_is_no_template(tmp_path, source):
    (tmp_path / "chat_template.jinja").write_text(source)
    with pytest.raises(InputError, match=r"chat_template\.jinja is not a Jinja template"):
        ChatTemplate.find(tmp_path)


@pytest.mark.parametrize(
    "messages",
    [
        ["hi"],
        [{"content": "x"}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": ["text"]}],
        [{"role": "user", "content": [{"type": "audio"}]}],
    ],
)
def test_malformed_messages(messages):
    with pytest.raises(InputError):
        ChatTemplate(CHAT_TEMPLATE).render(messages)


def test_damaged_json(tmp_path):
    (tmp_path / "chat_template.json").write_text('{"chat_template": ')
    with pytest.raises(InputError, match="not valid JSON"):
        ChatTemplate.find(tmp_path)
    (tmp_path / "chat_template.json").write_text('{"chat_template": {"other": "x"}}')
    with pytest.raises(InputError, match='named "default"'):
        ChatTemplate.find(tmp_path)


def test_folder_without_template_takes_rendered_text(model_folder):
    (model_folder / "chat_template.jinja").unlink()
    processor = Processor.from_folder(model_folder)
    assert len(processor.process_text("hi").tokens) >= 1
    with pytest.raises(InputError, match="no chat template"):
        processor(HELLO)
