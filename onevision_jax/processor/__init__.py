"""What the model is fed: images, chat text, tokens and positions as numpy arrays. No jax here."""

from onevision_jax.processor.chat import ChatTemplate
from onevision_jax.processor.collate import bucket, collate
from onevision_jax.processor.image import (
    MAX_ASPECT_RATIO,
    MAX_IMAGE_PIXELS,
    ImageSource,
    load_image,
    patchify,
    resize_bicubic,
    smart_resize,
)
from onevision_jax.processor.positions import mrope_positions
from onevision_jax.processor.qwen import Example, Processor, collect_images
from onevision_jax.processor.settings import ProcessorConfig
from onevision_jax.processor.tokenizer import TextStream, Tokenizer
from onevision_jax.processor.windows import WindowOrder, window_order

__all__ = [
    "MAX_ASPECT_RATIO",
    "MAX_IMAGE_PIXELS",
    "ChatTemplate",
    "Example",
    "ImageSource",
    "Processor",
    "ProcessorConfig",
    "TextStream",
    "Tokenizer",
    "WindowOrder",
    "bucket",
    "collate",
    "collect_images",
    "load_image",
    "mrope_positions",
    "patchify",
    "resize_bicubic",
    "smart_resize",
    "window_order",
]
