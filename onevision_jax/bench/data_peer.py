"""The input pipeline one would write with torch and transformers, for `bench data`.

A DataLoader over the same records: Pillow decodes, transformers' PIL image processor resizes,
normalises and cuts patches, its tokenizer tokenises prompt and response in the folder's chat
template, each image placeholder repeated as Qwen2.5-VL's processor does. Batches are padded, not
packed, and carry no loss mask: less work than ours does.
"""

import dataclasses
import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onevision_jax.data.record import Record
from onevision_jax.data.source import Rejected, Source
from onevision_jax.data.target import TargetConfig, prompt_messages, response_text
from onevision_jax.errors import InputError
from onevision_jax.processor import Processor, load_image, window_order

MISSING = "peer skipped: install the parity extra (torch and transformers)"
MAX_LENGTH = 8192


def installed(name: str = "transformers") -> bool:
    """Whether a package is here; for transformers, torch as well."""
    names = ("torch", name)
    return all(importlib.util.find_spec(one) is not None for one in names)


@dataclasses.dataclass
class PeerDataset:
    """Records as transformers prepares them; a torch map-style dataset."""

    source: Source
    folder: Path
    backend: str = "pil"  # or "torchvision"

    def __post_init__(self):
        import transformers

        transformers.logging.set_verbosity_error()
        name = "Qwen2VLImageProcessor" + ("" if self.backend == "pil" else "Fast")
        self.images: Any = getattr(transformers, name).from_pretrained(self.folder)
        self.tokenizer: Any = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(self.folder / "tokenizer.json"),
            chat_template=Processor.from_folder(self.folder).template.source,  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any] | None:
        try:
            return self.prepare(self.source[index])
        except (Rejected, InputError, OSError, ValueError):
            return None

    def prepare(self, record: Record) -> dict[str, Any]:
        """Token ids, and for an image its float32 patches and grid."""
        content: Any = prompt_messages(record, TargetConfig())
        answer = {"role": "assistant", "content": response_text(record, TargetConfig())}
        text = self.tokenizer.apply_chat_template([*content, answer], tokenize=False)
        pixels = {}
        if record.image is not None:
            picture = Image.open(io.BytesIO(record.image)).convert("RGB")
            pixels = dict(self.images(images=[picture], return_tensors="pt"))
            repeats = int(pixels["image_grid_thw"].prod()) // self.images.merge_size**2
            text = text.replace("<|image_pad|>", "<|image_pad|>" * repeats, 1)
        ids = self.tokenizer(text)["input_ids"]
        return {"input_ids": ids, **pixels}


def collate(items: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Padded ids, patches one after the other: what Qwen2.5-VL's forward takes."""
    import torch

    found = [item for item in items if item is not None and len(item["input_ids"]) <= MAX_LENGTH]
    ids = [torch.tensor(item["input_ids"]) for item in found]
    batch: dict[str, Any] = {"num_examples": len(found), "num_tokens": sum(map(len, ids))}
    if found:
        batch["input_ids"] = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    for name in ("pixel_values", "image_grid_thw"):
        parts = [item[name] for item in found if name in item]
        batch[name] = torch.cat(parts) if parts else None
    return batch


def batches(dataset: PeerDataset, size: int, workers: int, epochs: int) -> Iterator[dict[str, Any]]:
    """A DataLoader's batches, in the order of the records."""
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)  # As its own workers do: measured is one core.
    order = list(range(len(dataset))) * epochs
    loader: Any = DataLoader(
        dataset,  # pyright: ignore[reportArgumentType]
        batch_size=size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from loader


def largest_difference(dataset: PeerDataset, processor: Processor, count: int) -> tuple[int, float]:
    """Images compared, and the largest difference of their normalised values.

    Both are given upright RGB on white, which transformers leaves to its caller.
    """
    compared, largest = 0, 0.0
    for index in range(len(dataset)):
        try:
            record = dataset.source[index]
            if record.image is None:
                continue
            picture = load_image(record.image)
        except (Rejected, InputError):
            continue
        theirs = dataset.images(images=[picture], return_tensors="np")
        ours = normalised(processor, picture)
        largest = max(largest, float(np.abs(ours - theirs["pixel_values"]).max()))
        compared += 1
        if compared == count:
            break
    return compared, largest


def normalised(processor: Processor, picture: Image.Image) -> np.ndarray:
    """Our patches of an image as transformers lays them out: float32 [P, 3 * 2 * 14 * 14]."""
    config = processor.config
    example = processor.process_tokens(np.array([config.image_token_id]), [picture])
    h, w = (int(side) + 1 for side in example.patch_positions.max(axis=0))
    windows = window_order(
        h,
        w,
        patch_size=config.patch_size,
        merge_size=config.merge_size,
        window_size=config.window_size,
    )
    patches = example.patches.reshape(len(windows.order), -1)[windows.rank]
    values = patches.reshape(-1, config.patch_size, config.patch_size, 3).astype(np.float32)
    mean, std = (np.array(pair, np.float32) for pair in (config.image_mean, config.image_std))
    values = (values / 255 - mean) / std
    values = np.repeat(values.transpose(0, 3, 1, 2)[:, :, None], config.temporal_patch_size, axis=2)
    return values.reshape(len(values), -1)
