"""Evaluation of frozen features: a cache, linear probes, nearest neighbours."""
