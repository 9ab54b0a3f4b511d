"""Networks trained end to end: the baselines."""
