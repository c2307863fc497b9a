"""Kernels by tiles: computed over devices and processes, stored, multiplied."""
