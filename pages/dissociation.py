"""Dissociation: does it still recognise, explain and refuse?"""

from harmviz.claims.dissociation import page

page.show()
