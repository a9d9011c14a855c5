"""The pages of the main job, a module each with ``show()``; and its form on the Runs page."""
