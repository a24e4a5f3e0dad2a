"""What is kept: rows as typed values, one way to reach the database, its migrations and its backup."""
