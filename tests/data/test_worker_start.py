"""A worker process that the system refuses to start: what the system said is what arrives."""

import errno
import multiprocessing.popen_spawn_posix

import pytest

from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import RecordSource


# Grain's iterator complains once more when it goes, of the worker that never was.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_that_does_not_start(records, processor, monkeypatch, number):
    popen = multiprocessing.popen_spawn_posix.Popen
    start, started = popen.__init__, []

    def refuse(self, process):
        started.append(process)
        if len(started) == number:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        start(self, process)

    monkeypatch.setattr(popen, "__init__", refuse)
    config = PipelineConfig(
        packing=Packing(400, (0, 200)), rows_per_batch=2, num_shards=2, num_workers=2
    )
    batches = Pipeline(RecordSource(records), processor, config).batches()
    with pytest.raises(BlockingIOError, match="temporarily unavailable"), batches:
        next(batches)
    batches.close()
