"""The pages of resources and of their groups."""
