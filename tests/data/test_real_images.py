"""Real pictures through files, encoding and packing: Geometry3K, CLEVR, rendered charts.

They lie beside the repository or where ONEVISION_TEST_DATA says; without them the test skips.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.data.packing import Packing, unpack
from onevision_jax.data.pipeline import Pipeline, PipelineConfig
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.data.source import JsonlSource

DATA = Path(os.environ.get("ONEVISION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def pictures(folder: str) -> list[Record]:
    return [
        Record(id=path.stem, image=path.read_bytes(), question="What is shown?", answer="a scene")
        for path in sorted((DATA / folder).glob("*.png"))
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real pictures at {DATA}")
def test_real_pictures_are_packed_whole(tmp_path, processor, geometry3k):
    records = [*geometry3k, *pictures("clevr/images"), *pictures("charts/ood_charts")]
    assert len(records) >= 25
    write_jsonl(tmp_path / "real.jsonl", records)
    config = PipelineConfig(
        packing=Packing(tokens_per_row=4096, patch_budgets=(0, 384, 768), window=16),
        rows_per_batch=2,
        num_shards=2,
        num_epochs=1,
    )
    pipeline = Pipeline(JsonlSource((str(tmp_path / "real.jsonl"),)), processor, config)
    batches = pipeline.batches()
    found = [example for batch in batches for example in unpack(batch)]
    assert not batches.dropped.counts, str(batches.dropped)
    assert len(found) == len(records)
    expected = [pipeline.encode.train(record) for record in records]
    got = {example.patches.tobytes(): example for example in found}
    for example in expected:
        twin = got[example.patches.tobytes()]
        np.testing.assert_array_equal(twin.tokens, example.tokens)
        np.testing.assert_array_equal(twin.positions, example.positions)
        assert 4 <= len(twin.patches) // 4 <= 48  # The fixture's pixel limits.
