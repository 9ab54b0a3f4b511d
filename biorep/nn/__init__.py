"""Torch parts that networks and readouts are made of: encoders, layers, losses, schedules, the training loop."""
