"""Reading JSON so that damage is one line; writing files and folders so that nobody sees them half done."""
