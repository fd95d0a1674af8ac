"""What the processor has to know, read from preprocessor_config.json and config.json."""

import dataclasses
import math
import pathlib
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.processor import folder
from onevision_jax.processor.image import MAX_IMAGE_PIXELS, smart_resize
from onevision_jax.processor.windows import units_per_window

_BICUBIC = 3  # PIL.Image.Resampling.BICUBIC as written in JSON.
_RESCALE = 1 / 255


@dataclasses.dataclass(frozen=True)
class ProcessorConfig:
    """Image sizes, patch geometry and special ids. Defaults are those of transformers' class.

    The published Qwen2.5-VL checkpoints differ from the defaults: max_pixels 12,845,056.
    """

    min_pixels: int = 56 * 56
    """Images with less area than this are enlarged."""
    max_pixels: int = 28 * 28 * 1280
    """Images with more area than this are reduced: 784 pixels make one vision token."""
    patch_size: int = 14
    """Pixels."""
    merge_size: int = 2
    """Patches along one side of a merged unit, which becomes one token."""
    temporal_patch_size: int = 2
    """Frames in a patch: an image is shown to the model twice (by the model itself)."""
    window_size: int = 112
    """Pixels, of the vision tower's windowed attention."""
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """For the model, which normalises: (x / 255 - mean) / std. RGB."""
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """For the model. RGB."""
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("image_m") or field.name.startswith("image_s"):
                _check_channels(field.name, value)
            elif isinstance(value, bool) or not isinstance(value, int):
                raise InputError(f"processor setting {field.name} is {value!r}; give an integer")
            elif value < (least := 0 if field.name.endswith("_id") else 1):
                raise InputError(f"processor setting {field.name} is {value}; give {least} or more")
        if self.min_pixels > self.max_pixels:
            raise InputError(
                f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}; swap them"
            )
        if self.min_pixels > MAX_IMAGE_PIXELS:  # Every image would be enlarged beyond what is read.
            raise InputError(f"min_pixels {self.min_pixels} is over {MAX_IMAGE_PIXELS}; lower it")
        if self.temporal_patch_size != 2:
            raise InputError(
                f"temporal_patch_size is {self.temporal_patch_size}, but only 2 is supported: "
                "use a Qwen2.5-VL preprocessor_config.json"
            )
        units_per_window(self.patch_size, self.merge_size, self.window_size)

    @property
    def factor(self) -> int:
        """Pixels along one side of a merged unit; resized images are multiples of it."""
        return self.patch_size * self.merge_size

    def num_units(self, height: int, width: int) -> int:
        """Tokens of an image of height x width pixels; raises InputError as `smart_resize`."""
        new_height, new_width = smart_resize(
            height,
            width,
            factor=self.factor,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
        )
        return (new_height // self.factor) * (new_width // self.factor)

    @classmethod
    def from_folder(
        cls,
        path: str | pathlib.Path,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> "ProcessorConfig":
        """Reads a model folder; min_pixels and max_pixels given here win over the files.

        Raises:
            InputError: a file is missing or damaged, or asks for what is not supported.
        """
        path = pathlib.Path(path)
        file, settings = _image_settings(path)
        fields = _image_fields(settings, file)
        fields.update(_model_fields(path, fields))
        if min_pixels is not None:
            fields["min_pixels"] = min_pixels
        if max_pixels is not None:
            fields["max_pixels"] = max_pixels
        return cls(**fields)


def _image_settings(path: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
    """preprocessor_config.json, else the image_processor part of processor_config.json."""
    file = path / "preprocessor_config.json"
    settings = folder.read_json(file)
    if settings is not None:
        return file, settings.get("image_processor", settings)
    file = path / "processor_config.json"
    nested = (folder.read_json(file) or {}).get("image_processor")
    if not isinstance(nested, dict):
        raise InputError(
            f"{str(path)!r} has neither preprocessor_config.json nor a processor_config.json with "
            '"image_processor"; copy it from the checkpoint'
        )
    return file, nested


def _image_fields(settings: dict[str, Any], file: pathlib.Path) -> dict[str, Any]:
    """The fields an image processor's JSON gives, after refusing what is not supported."""
    supported = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": _BICUBIC}
    for name, value in supported.items():
        if settings.get(name, value) not in (value, None):
            raise InputError(
                f"{file} has {name} = {settings[name]!r}, but only {value!r} is supported: "
                "use a Qwen2.5-VL preprocessor_config.json"
            )
    factor = settings.get("rescale_factor")
    if factor is not None and not (_is_number(factor) and math.isclose(factor, _RESCALE)):
        raise InputError(f"{file} has rescale_factor = {factor!r}, but only 1/255 is supported")

    fields: dict[str, Any] = {}
    size = settings.get("size")
    if size is not None:
        if not isinstance(size, dict) or not {"shortest_edge", "longest_edge"} <= size.keys():
            raise InputError(f"{file} has size = {size!r}; give it shortest_edge and longest_edge")
        # The names say edges, the values are areas.
        fields["min_pixels"], fields["max_pixels"] = size["shortest_edge"], size["longest_edge"]
    names = ("min_pixels", "max_pixels", "patch_size", "merge_size", "temporal_patch_size")
    fields.update({name: settings[name] for name in names if settings.get(name) is not None})
    for name in ("image_mean", "image_std"):
        value = settings.get(name)
        if value is not None:
            fields[name] = tuple(value) if isinstance(value, list) else (value,) * 3
    return fields


def _model_fields(path: pathlib.Path, image_fields: dict[str, Any]) -> dict[str, Any]:
    """Ids and window size from config.json, flat or nested; patch geometry must agree."""
    file = path / "config.json"
    config = folder.read_json(file)
    if config is None:
        raise InputError(f"{file} does not exist; copy the checkpoint's config.json there")
    text, vision = config.get("text_config"), config.get("vision_config")
    text, vision = (part if isinstance(part, dict) else {} for part in (text, vision))
    fields: dict[str, Any] = {}
    for name in ("image", "video", "vision_start", "vision_end"):
        key = f"{name}_token_id"
        value = config.get(key, text.get(key))
        if value is not None:
            fields[key] = value
    if vision.get("window_size") is not None:
        fields["window_size"] = vision["window_size"]
    for name, key in (("patch_size", "patch_size"), ("merge_size", "spatial_merge_size")):
        ours = image_fields.get(name, getattr(ProcessorConfig, name))
        if vision.get(key, ours) != ours:
            raise InputError(
                f"{file} has vision_config.{key} = {vision[key]!r}, but the image processor's "
                f"{name} is {ours!r}; take both files from one checkpoint"
            )
    return fields


def _check_channels(name: str, value: Any) -> None:
    numbers = isinstance(value, tuple) and len(value) == 3 and all(map(_is_number, value))
    if not numbers or (name == "image_std" and min(value) <= 0):
        raise InputError(f"processor setting {name} is {value!r}; give three numbers, for R, G, B")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
