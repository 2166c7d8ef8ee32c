"""Every dataset the benchmark knows, a TOML file each: layout on disk, license, where to get it, which module reads it."""

from croco_bench.data.catalogue.loader import CATALOGUE, Catalogue, DatasetInfo, dataset_info

__all__ = ["CATALOGUE", "Catalogue", "DatasetInfo", "dataset_info"]
