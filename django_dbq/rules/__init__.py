"""Values and pure functions: what is decided here never touches a database."""
