"""Measurements a user can repeat: ours beside what they would run instead, in one run."""
