"""What 3.3 promised its users: every promise has a number, and every test here starts with one."""
