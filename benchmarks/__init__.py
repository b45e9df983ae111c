"""What the kit says of itself, measured; run a module with `python -m benchmarks.<name>`."""
