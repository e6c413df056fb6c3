"""Videos: where their frames come from, and where what was found in them goes."""
