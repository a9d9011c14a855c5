"""Playground: what does the model say without these weights? Live: one prompt, answered in step with and without them."""

from harmviz.playground import page

page.show()
