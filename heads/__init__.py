"""The benchmark's heads: modules built from a feature spec and an output width. Imports no torch."""

if __name__ != "croco_bench.heads":
    raise ImportError(
        "this folder is the package croco_bench.heads: install the project (pip install -e .) and import that"
    )

from croco_bench.registry import HeadCard

CATALOGUE = {
    "dpt": HeadCard("croco_bench.heads.dpt:DPT", "dense prediction transformer on four block outputs (Ranftl 2021)"),
}
