"""A conversation with images -> the numpy arrays of one sequence.

Letters: T tokens, P patches, M merged units (vision rows; P / merge_size^2).

Patches lie in window order, image after image. `vision_index` says for each image token which
vision row it takes, so the model never undoes the window order:

    tokens        a VS I  I  I  I  I  I  VE b       one image of 2 x 3 units; with windows of
    vision_index -1 -1 0  1  4  2  3  5 -1 -1       2 x 2 its window order is 0 1 3 4 | 2 5
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onevision_jax.errors import InputError
from onevision_jax.processor import image as images_
from onevision_jax.processor.chat import ChatTemplate, Message
from onevision_jax.processor.image import ImageSource
from onevision_jax.processor.positions import mrope_positions
from onevision_jax.processor.settings import ProcessorConfig
from onevision_jax.processor.tokenizer import Tokenizer
from onevision_jax.processor.windows import WindowOrder, units_per_window, window_order

IMAGE_PAD = "<|image_pad|>"
VIDEO_PAD = "<|video_pad|>"
NUM_CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class Example:
    """One sequence, unpadded. A text-only one has P = 0."""

    tokens: np.ndarray
    """int32 [T]."""
    positions: np.ndarray
    """int32 [3, T]: M-RoPE (t, h, w)."""
    vision_index: np.ndarray
    """int32 [T]: vision row of an image token, -1 for text."""
    patches: np.ndarray
    """uint8 [P, 588]: raw patches in (y, x, c) order, in window order."""
    patch_positions: np.ndarray
    """int32 [P, 2]: (row, column) in the image's patch grid."""
    image_ids: np.ndarray
    """int32 [P]: image of each patch, contiguous runs counted from 1."""
    window_ids: np.ndarray
    """int32 [P]: window of each patch, contiguous runs counted from 1 over all images."""
    next_position: int
    """Position of the first generated token, on all three axes."""


@dataclasses.dataclass(frozen=True)
class Processor:
    """Renders, tokenises and cuts patches as a Qwen2.5-VL checkpoint expects them."""

    config: ProcessorConfig
    tokenizer: Tokenizer
    template: ChatTemplate | None
    """None when the folder has none: then only `process_text` works."""

    @classmethod
    def from_folder(
        cls,
        path: str | pathlib.Path,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> "Processor":
        """Reads a Hugging Face model folder (weights are not looked at).

        Raises:
            InputError: a file is missing, damaged or unsupported, or tokenizer.json and config.json
                number the image token differently.
        """
        config = ProcessorConfig.from_folder(path, min_pixels=min_pixels, max_pixels=max_pixels)
        tokenizer = Tokenizer.from_folder(path)
        if tokenizer.token_id(IMAGE_PAD) != config.image_token_id:
            raise InputError(
                f"{path}: {IMAGE_PAD} is {tokenizer.token_id(IMAGE_PAD)} in tokenizer.json but "
                f"image_token_id is {config.image_token_id} in config.json; "
                "take both files from one checkpoint"
            )
        template = ChatTemplate.find(path, tokenizer.special_tokens)
        return cls(config, tokenizer, template)

    def __call__(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> Example:
        """Renders a conversation with the folder's chat template and processes it.

        Args:
            messages: {"role": ..., "content": ...}; content is a string or a list of
                {"type": "text", "text": ...} and {"type": "image", "image": path, bytes or Pillow}.
            images: images for the {"type": "image"} items that carry none, in order.
            add_generation_prompt: end with the header of the assistant's answer.
            variables: further template variables.

        Raises:
            InputError: as `render` and `process_text`.
        """
        sources = collect_images(messages, images)
        text = self.render(messages, add_generation_prompt=add_generation_prompt, **variables)
        return self.process_text(text, sources)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The text of a conversation, one placeholder for each image."""
        if self.template is None:
            raise InputError(
                "the model folder has no chat template (chat_template.jinja, chat_template.json or "
                "tokenizer_config.json); add one or give rendered text"
            )
        return self.template.render(
            messages, add_generation_prompt=add_generation_prompt, **variables
        )

    def process_text(self, text: str, images: Sequence[ImageSource] = ()) -> Example:
        """Processes rendered text, in which each `<|image_pad|>` stands for one image.

        Raises:
            InputError: placeholders and images differ in number, an image cannot be used, or the
                text is empty or asks for a video.
        """
        return self.process_tokens(self.tokenizer.encode(text), images)

    def process_tokens(self, tokens: np.ndarray, images: Sequence[ImageSource] = ()) -> Example:
        """As `process_text`, for ids in which each image still has one placeholder."""
        config = self.config
        if len(tokens) == 0:
            raise InputError("the text is empty; give at least one token")
        if np.any(tokens == config.video_token_id):
            raise InputError(f"the text has a {VIDEO_PAD}, but videos are not supported; remove it")
        num_placeholders = int(np.sum(tokens == config.image_token_id))
        if num_placeholders != len(images):
            raise InputError(
                f"the text has {num_placeholders} image placeholders ({IMAGE_PAD}) but "
                f"{len(images)} images are given; give one image for each placeholder"
            )
        vision = [self._cut(source) for source in images]
        tokens = self._expand(tokens, [len(one.windows.order) for one in vision])
        grids = [(one.rows, one.columns) for one in vision]
        positions, next_position = mrope_positions(
            tokens, grids, image_token_id=config.image_token_id
        )
        return Example(
            tokens=tokens,
            positions=positions,
            vision_index=self._vision_index(tokens, vision),
            next_position=next_position,
            **self._vision_arrays(vision),
        )

    def _cut(self, source: ImageSource) -> "_Vision":
        """One image to patches in window order."""
        config = self.config
        picture = images_.load_image(source)
        height, width = images_.smart_resize(
            picture.height,
            picture.width,
            factor=config.factor,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
        )
        picture = images_.resize_bicubic(picture, height, width)
        patches = images_.patchify(
            np.asarray(picture),
            patch_size=config.patch_size,
            merge_size=config.merge_size,
            window=units_per_window(config.patch_size, config.merge_size, config.window_size),
        )
        windows = window_order(
            height // config.patch_size,
            width // config.patch_size,
            patch_size=config.patch_size,
            merge_size=config.merge_size,
            window_size=config.window_size,
        )
        return _Vision(
            rows=height // config.factor,
            columns=width // config.factor,
            patches=patches,
            windows=windows,
        )

    def _expand(self, tokens: np.ndarray, num_units: list[int]) -> np.ndarray:
        """Repeats the n-th placeholder once per vision row of the n-th image."""
        repeats = np.ones(len(tokens), np.int64)
        repeats[tokens == self.config.image_token_id] = num_units
        return np.repeat(tokens, repeats).astype(np.int32)

    def _vision_index(self, tokens: np.ndarray, vision: Sequence["_Vision"]) -> np.ndarray:
        index = np.full(len(tokens), -1, np.int32)
        rows, start = [], 0
        for one in vision:
            rows.append(one.windows.rank + start)
            start += len(one.windows.order)
        if rows:
            index[tokens == self.config.image_token_id] = np.concatenate(rows)
        return index

    def _vision_arrays(self, vision: Sequence["_Vision"]) -> dict[str, np.ndarray]:
        per_unit = self.config.merge_size**2
        patch_bytes = self.config.patch_size**2 * NUM_CHANNELS
        patches = [np.empty((0, patch_bytes), np.uint8)]
        positions = [np.empty((0, 2), np.int32)]
        image_ids = [np.empty(0, np.int32)]
        window_ids = [np.empty(0, np.int32)]
        num_windows = 0
        for number, one in enumerate(vision, start=1):
            patches.append(one.patches)
            positions.append(one.windows.patch_positions)
            image_ids.append(np.full(len(one.patches), number, np.int32))
            window_ids.append(np.repeat(one.windows.window_ids, per_unit) + num_windows + 1)
            num_windows += int(one.windows.window_ids[-1]) + 1
        return {
            "patches": patches[1] if len(vision) == 1 else np.concatenate(patches),
            "patch_positions": np.concatenate(positions),
            "image_ids": np.concatenate(image_ids),
            "window_ids": np.concatenate(window_ids),
        }


@dataclasses.dataclass(frozen=True)
class _Vision:
    """One image: its grid of merged units, and its patches in window order."""

    rows: int
    columns: int
    patches: np.ndarray
    windows: WindowOrder


def collect_images(
    messages: Sequence[Message], images: Sequence[ImageSource] | None = None
) -> list[ImageSource]:
    """The images of a conversation in order: those inside content items, else from `images`.

    Raises:
        InputError: the items without an image of their own are not as many as `images`.
    """
    outside = list(images or ())
    items = [item for message in messages for item in _image_items(message)]
    empty = sum(item is None for item in items)
    if empty == len(items):
        return outside  # Placeholders may also be written in the text: counted after rendering.
    if empty != len(outside):
        raise InputError(
            f"{empty} image items have no image of their own but {len(outside)} images are given "
            "beside the messages; give one for each"
        )
    supply = iter(outside)
    return [next(supply) if item is None else item for item in items]


def _image_items(message: Message) -> list[ImageSource | None]:
    """The image, or None, of each image item in one message."""
    content = message.get("content") if isinstance(message, Mapping) else None
    found: list[ImageSource | None] = []
    for item in content if isinstance(content, list | tuple) else ():
        if not isinstance(item, Mapping):
            continue  # Reported when the message is rendered.
        if "image_url" in item:
            raise InputError(
                'a content item has "image_url", which is not fetched here; '
                'give {"type": "image", "image": path, bytes or Pillow image}'
            )
        if item.get("type") == "image" or "image" in item:
            found.append(item.get("image"))
    return found
