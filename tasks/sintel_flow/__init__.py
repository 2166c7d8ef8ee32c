"""Optical flow on MPI-Sintel."""
