"""Attention and log-prob operations of onevision-jax; imports only jax."""
