"""The map run, which every other claim works with: from a model and a data set to scores, masks and effects."""
