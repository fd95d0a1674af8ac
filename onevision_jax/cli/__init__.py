"""The console script `onevision`: one module per verb, and the frame they run in."""
