"""Drawn heads with exact landmarks: a data set without a download."""
