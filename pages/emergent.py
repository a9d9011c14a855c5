"""Emergent misalignment: does narrow tuning misalign broadly?"""

from harmviz.claims.emergent import page

page.show()
