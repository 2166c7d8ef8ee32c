"""`python -m croco_bench`, for torchrun and accelerate launch."""

from croco_bench.cli.main import main

main()
