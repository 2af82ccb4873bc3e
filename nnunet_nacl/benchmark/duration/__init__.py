"""How long a study takes, and what that rests on."""
