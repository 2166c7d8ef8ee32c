"""`python -m croco_bench`, for torchrun and accelerate launch."""

from croco_bench.cli import main

main()
