"""Networks that Brian2 simulates: spikes and rates in time."""
