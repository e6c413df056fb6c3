"""Every picture of the project: landmarks, volumes, sheets of faces, charts."""
