"""What a GPU does with this project: `python -m benchmarks.gpu`."""
