"""The pages of the map run, a module each with ``show()``; and its form on the Runs page."""
