"""The page, and what makes it work in a browser without a server."""
