"""The pages of the main job, a module each."""
