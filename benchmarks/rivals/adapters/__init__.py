"""One file for each rival: `RIVAL`, a declaration. No rival is imported here."""
