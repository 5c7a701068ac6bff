"""What was answered? Every call, durable, in SQLite or PostgreSQL. Answered calls in; rows, counts and reviews out; it
knows no HTTP.
"""
