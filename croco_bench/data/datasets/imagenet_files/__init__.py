"""ImageNet's images as they are distributed: class folders, archives, shards of tables and tars."""
