"""Load: how many calls a server carries, and what each costs."""
