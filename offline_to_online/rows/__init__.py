"""What is loaded, read from the artifacts: users, items, features; and the sample of users that the checks ask for."""
