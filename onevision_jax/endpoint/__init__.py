"""A client of OpenAI-compatible chat servers: bounded, retrying, cached on disk, counted."""

from onevision_jax.endpoint.accounting import Accounting
from onevision_jax.endpoint.cache import ReplyCache
from onevision_jax.endpoint.client import complete
from onevision_jax.endpoint.reply import Reply
from onevision_jax.endpoint.request import ChatRequest
from onevision_jax.endpoint.settings import EndpointConfig

__all__ = ["Accounting", "ChatRequest", "EndpointConfig", "Reply", "ReplyCache", "complete"]
