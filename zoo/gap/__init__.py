"""Finite beside infinite: cells, exponents, storage."""
