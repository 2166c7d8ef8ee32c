"""Read-outs of frozen features: cached vectors, linear probes, nearest neighbours."""
