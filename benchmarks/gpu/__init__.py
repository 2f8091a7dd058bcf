"""python -m benchmarks.gpu: training, attack and inference steps on one GPU beside peers; see __main__.py."""
