"""What the page shows, picture by picture: tidy tables and words from a stored result. Nothing here draws."""
