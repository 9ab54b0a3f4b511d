"""Backprop networks, held against those that learn locally, and the penalties that they are trained with."""
