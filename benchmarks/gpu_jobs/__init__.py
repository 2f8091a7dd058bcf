"""python -m benchmarks.gpu_jobs: the paper's settings on a rented GPU, in calls of some minutes; see README.md."""
