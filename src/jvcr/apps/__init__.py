"""What is done with the faces that were found: drawn, and stored for many images."""
