"""A checkpoint's answers to questions: with their images, with blanked ones, or with none.

Every batch is on disk before the next one starts, in a hidden file of the output folder, so a
killed run goes on where it stopped; it refuses to go on under other settings.
"""

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from onevision_jax.convert import load_model, read_assets_folder
from onevision_jax.data.encode import Encode
from onevision_jax.data.record import Record
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import Response
from onevision_jax.model import ModelOptions
from onevision_jax.processor import Processor, load_image
from onevision_jax.rollout import Generator, Sampling

PARTIAL = ".responses.partial"
GREY = (127, 127, 127)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """How the answers are made."""

    checkpoint: str
    images: Literal["real", "blank", "none"] = "real"
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    max_new_tokens: int = 512
    rows: int = 16  # prompts answered at a time
    seed: int = 0  # row i of the file draws with seed + i
    instruction: str = ""  # last line of every prompt
    dtype: str = "float32"
    max_tokens: int = 8192  # of a prompt; images shrink to fit
    max_patches: int = 16_384


Progress = Callable[[int, int], None]


def answer(
    questions: Sequence[Question], config: AnswerConfig, folder: Path, progress: Progress
) -> dict[str, Response]:
    """The response to every question, by id; those that `folder` already holds are kept.

    progress(done, total) is called after each batch. Raises InputError naming the row that cannot
    be asked, or when `folder` holds answers made under other settings.
    """
    store = Store(folder / PARTIAL, _settings(questions, config))
    done = store.read()
    left = [(i, q) for i, q in enumerate(questions) if q.id not in done]
    if not left:
        return done
    processor = Processor.from_folder(read_assets_folder(config.checkpoint))
    encode = Encode(
        processor,
        TargetConfig(instruction=config.instruction),
        max_tokens=config.max_tokens,
        max_patches=config.max_patches,
    )
    generator = _generator(processor, config)
    progress(len(done), len(questions))
    for batch in _batches(left, config.rows):
        examples = [encode.prompt(shown(q.record(), config.images)).example for _, q in batch]
        # Always as many rows: the last batch would otherwise compile once more.
        filled = [*examples, *[examples[-1]] * (config.rows - len(examples))]
        seeds = [config.seed + i for i, _ in batch] + [0] * (config.rows - len(batch))
        completions = generator.generate(
            filled, sampling=config.sampling, max_new_tokens=config.max_new_tokens, seeds=seeds
        )
        new = {
            question.id: Response(
                text=processor.tokenizer.decode(completion.token_ids, skip_special=True),
                finish_reason=completion.finish_reason,
            )
            for (_, question), completion in zip(batch, completions, strict=False)
        }
        store.add(new)
        done |= new
        progress(len(done), len(questions))
    return done


def shown(record: Record, images: Literal["real", "blank", "none"]) -> Record:
    """The record as the model sees it: "blank" is a grey picture of the same size."""
    if record.image is None or images == "real":
        return record
    if images == "none":
        return dataclasses.replace(record, image=None)
    buffer = io.BytesIO()
    Image.new("RGB", load_image(record.image).size, GREY).save(buffer, "PNG")
    return dataclasses.replace(record, image=buffer.getvalue())


class Store:
    """Responses on disk as they come: a line of settings, then a line each."""

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        self.settings = dict(settings)

    def read(self) -> dict[str, Response]:
        """What is there; a line torn by a kill is cut off, and the file begun if there is none."""
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.is_file() else []
        if len(lines) < 2:  # Not even the settings were finished.
            self.path.write_text(json.dumps(self.settings) + "\n", encoding="utf-8")
            return {}
        whole = lines[:-1]
        self.path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
        stored = json.loads(whole[0])
        for name, value in self.settings.items():
            if stored.get(name) != value:
                raise InputError(
                    f"{self.path.parent} holds answers made with {name} = {stored.get(name)!r}, "
                    f"not {value!r}; give another --out"
                )
        rows = [json.loads(line) for line in whole[1:]]
        return {row.pop("id"): Response(**row) for row in rows}

    def add(self, responses: Mapping[str, Response]) -> None:
        """Appends them in one write."""
        lines = [
            json.dumps({"id": name, **dataclasses.asdict(response)}, ensure_ascii=False) + "\n"
            for name, response in responses.items()
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))


def _settings(questions: Sequence[Question], config: AnswerConfig) -> dict[str, Any]:
    """What must not change between two runs that share a folder."""
    fields = dataclasses.asdict(config)
    checkpoint = str(Path(fields.pop("checkpoint")).resolve())
    return {"questions": len(questions), "checkpoint": checkpoint, **fields}


def _generator(processor: Processor, config: AnswerConfig) -> Generator:
    import jax.numpy as jnp

    dtype = jnp.dtype(config.dtype)
    options = ModelOptions(dtype=dtype, param_dtype=dtype)
    tokenizer = processor.tokenizer
    return Generator(
        load_model(config.checkpoint, options=options, dtype=dtype),
        stop_ids=tokenizer.stop_ids,
        banned_ids=tokenizer.ids_of("<|vision_pad|>"),
        pad_id=tokenizer.pad_id,
    )


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
