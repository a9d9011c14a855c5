"""Playground: what does the model say without these weights? One prompt, answered in step."""

from harmviz.playground import page

page.show()
