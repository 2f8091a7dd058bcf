"""python -m benchmarks.gpu_jobs: the paper's settings on a GPU, in several short calls; see README.md."""
