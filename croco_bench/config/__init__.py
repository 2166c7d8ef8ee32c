"""Recipes and settings: typed, frozen, read from TOML. No torch here."""
