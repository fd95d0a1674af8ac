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
from onevision_jax.evaluation.score import Response, Responses, samples_of
from onevision_jax.evaluation.wording import fingerprint
from onevision_jax.model import ModelOptions
from onevision_jax.processor import Example, Processor, load_image
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
    rows: int = 16  # answers made at a time, or all samples of one prompt where they are more
    num_samples: int = 1  # of every question
    seed: int = 0  # sample s of row i of the file draws with seed + i * num_samples + s
    instruction: str = ""  # last line of every prompt
    dtype: str = "float32"
    max_tokens: int = 8192  # of a prompt; images shrink to fit
    max_patches: int = 16_384

    def __post_init__(self):
        check_samples(self.num_samples, self.sampling.temperature)


def check_samples(num_samples: int, temperature: float) -> None:
    """Raises InputError for no samples, and for several that would all be the same."""
    if num_samples < 1:
        raise InputError(f"num_samples is {num_samples}, expected 1 or more")
    if num_samples > 1 and temperature == 0:
        raise InputError(
            f"{num_samples} samples at temperature 0 are the same answer; "
            "give a temperature above 0"
        )


Progress = Callable[[int, int], None]


def answer(
    questions: Sequence[Question], config: AnswerConfig, folder: Path, progress: Progress
) -> dict[str, tuple[Response, ...]]:
    """`num_samples` responses to every question, by id; those that `folder` holds are kept.

    questions: as they are asked, see `worded`.

    progress(done, total) counts questions, after each batch. Raises InputError naming the row that
    cannot be asked, or when `folder` holds answers made under other settings.
    """
    store = Store(folder / PARTIAL, _settings(questions, config))
    # A kill in the middle of a write may have left some samples of a question: it is asked again.
    done = {name: said for name, said in store.read().items() if len(said) == config.num_samples}
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
    for batch in _batches(left, max(1, config.rows // config.num_samples)):
        new = _ask(batch, encode, generator, config)
        store.add(new)
        done |= new
        progress(len(done), len(questions))
    return done


def _ask(
    batch: Sequence[tuple[int, Question]],
    encode: Encode,
    generator: Generator,
    config: AnswerConfig,
) -> dict[str, tuple[Response, ...]]:
    """The samples of one batch."""
    k, prompts = config.num_samples, max(1, config.rows // config.num_samples)
    examples = [_example(q, encode, config) for _, q in batch]
    # Always as many rows: the last batch would otherwise compile once more.
    filled = [*examples, *[examples[-1]] * (prompts - len(examples))]
    seeds = [config.seed + i * k + sample for i, _ in batch for sample in range(k)]
    completions = generator.generate(
        filled,
        sampling=config.sampling,
        max_new_tokens=config.max_new_tokens,
        seeds=[*seeds, *[0] * (prompts * k - len(seeds))],
        num_samples=k,
    )
    tokenizer = encode.processor.tokenizer
    return {
        question.id: tuple(
            Response(
                text=tokenizer.decode(completion.token_ids, skip_special=True),
                finish_reason=completion.finish_reason,
                sample=sample,
            )
            for sample, completion in enumerate(completions[place * k : (place + 1) * k])
        )
        for place, (_, question) in enumerate(batch)
    }


def _example(question: Question, encode: Encode, config: AnswerConfig) -> Example:
    try:
        return encode.prompt(shown(question.record(), config.images)).example
    except InputError as error:
        raise InputError(f"row {question.id!r}: {error}") from None


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

    def read(self) -> dict[str, tuple[Response, ...]]:
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
        found: dict[str, dict[int | str, Response]] = {}
        for line in whole[1:]:
            row = json.loads(line)
            name, response = row.pop("id"), Response(**row)
            found.setdefault(name, {})[response.sample] = response  # The later one counts.
        return {name: samples_of(list(said.values())) for name, said in found.items()}

    def add(self, responses: Responses) -> None:
        """Appends them in one write."""
        lines = [
            json.dumps({"id": name, **dataclasses.asdict(response)}, ensure_ascii=False) + "\n"
            for name, said in responses.items()
            for response in samples_of(said)
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(lines))


def _settings(questions: Sequence[Question], config: AnswerConfig) -> dict[str, Any]:
    """What must not change between two runs that share a folder."""
    fields = dataclasses.asdict(config)
    checkpoint = str(Path(fields.pop("checkpoint")).resolve())
    if config.num_samples == 1:
        del fields["num_samples"]  # Folders older than this setting stay readable.
    asked = {"questions": len(questions), "texts": fingerprint(questions)}
    return {**asked, "checkpoint": checkpoint, **fields}


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
