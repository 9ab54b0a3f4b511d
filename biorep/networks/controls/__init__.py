"""Networks that do not learn: what every claim is held against."""
