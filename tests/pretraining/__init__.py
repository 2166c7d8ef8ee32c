"""Tests of pre-training, a package so that type checkers tell its `conftest` from that of all tests."""
