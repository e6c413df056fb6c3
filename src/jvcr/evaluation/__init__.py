"""Measuring: metrics, the protocol that gives each face its box, and the report."""
