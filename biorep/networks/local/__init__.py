"""Networks that learn by local rules without a simulator."""
