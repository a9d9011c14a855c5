"""The main job: from a model and a data set to a complete map run. ``spec`` what, ``job`` in which order."""
