"""Every number of the quickstart, in one place.

They were found by trying: see docs/performance.md, "What a small model learns". All of them can be
read in the results that a run writes.
"""

import dataclasses

import jax.numpy as jnp

from onevision_jax.data.packing import Packing
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.model import ModelOptions, QwenVLConfig
from onevision_jax.model.config import TextConfig, VisionConfig
from onevision_jax.train import OptimizerConfig
from onevision_jax.train.scratch import ScratchConfig

# A Qwen2.5-VL of 1.2 M parameters: every part is there, small.
SHAPE = QwenVLConfig(
    vision=VisionConfig(
        depth=2,
        hidden_size=96,
        intermediate_size=192,
        num_heads=3,
        out_hidden_size=128,
        full_attention_layers=(0, 1),
    ),
    text=TextConfig(
        vocab_size=1024,  # becomes what the tokenizer turns out to be
        hidden_size=128,
        intermediate_size=384,
        num_layers=3,
        num_heads=4,
        num_kv_heads=4,
        # M-RoPE gives the columns of an image the lowest frequencies; with the usual base of a
        # million, two columns of a small picture would be turned by nearly nothing.
        rope_theta=100.0,
        mrope_section=(4, 6, 6),
        norm_eps=1e-6,
        tie_word_embeddings=True,
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """What is drawn, trained and asked."""

    seed: int = 0
    # Circuits and geometry have the longest texts and take longer than ten minutes to learn.
    families: tuple[str, ...] = ("charts", "tables", "flowcharts", "scenes")
    difficulty: int = 0
    num_examples: int = 36_000  # drawn, all splits together; 84 pixels a side
    num_questions: int = 1500  # of the test split
    max_new_tokens: int = 96  # the longest target of seed 0 has 82
    scratch: ScratchConfig = dataclasses.field(
        default_factory=lambda: ScratchConfig(
            shape=SHAPE,
            num_merges=300,
            plain_pattern=True,
            default_system=False,
            init_scale=0.05,
            # White paper comes out as 0.
            image_mean=(1.0, 1.0, 1.0),
            image_std=(0.3, 0.3, 0.3),
        )
    )
    model: ModelOptions = dataclasses.field(
        default_factory=lambda: ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32)
    )
    packing: Packing = dataclasses.field(
        default_factory=lambda: Packing(tokens_per_row=256, patch_budgets=(108,))
    )
    sft_steps: int = 1500
    sft_rows: int = 8
    sft_optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(
            kind="muon", peak_lr=4e-3, warmup_steps=50, end_lr_fraction=0.05, weight_decay=0.05
        )
    )
    grpo_steps: int = 20
    grpo_prompts: int = 16
    grpo_group: int = 8
    grpo_optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(peak_lr=3e-5, warmup_steps=3, schedule="constant")
    )

    @property
    def pipeline(self) -> PipelineConfig:
        """Of SFT."""
        return PipelineConfig(
            packing=self.packing, rows_per_batch=self.sft_rows, num_shards=4, seed=self.seed
        )
