"""What the layer costs, measured against real processes on this machine: ``python -m benchmarks.run``."""
