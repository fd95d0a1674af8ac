"""Log-probabilities of given tokens straight from hidden states (`linear_logprob`)."""

from onevision_kernels.logprob.api import implementations, linear_logprob
from onevision_kernels.logprob.reference import LogProbs

__all__ = ["LogProbs", "implementations", "linear_logprob"]
