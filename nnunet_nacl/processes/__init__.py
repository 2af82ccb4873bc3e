"""Worker processes that end with their parent, and the memory there is for them."""
