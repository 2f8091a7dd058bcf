"""python -m benchmarks.gpu: training, attack and inference steps on one GPU, minihire and other libraries."""
