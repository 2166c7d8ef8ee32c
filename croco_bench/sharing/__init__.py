"""Results to share: bundles that others can check, pages of several bundles, cards of backbones."""
