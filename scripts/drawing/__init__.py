"""Drawing boards for the pictures that this project invents."""
