"""The whole house on a fast clock: a day of a real trace through the real daemon against the platform in a box."""
