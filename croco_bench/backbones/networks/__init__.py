"""Networks: the architectures as data, and the modules that are built from them."""
