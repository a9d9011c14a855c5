"""Overview: what is this, and what did this run find?"""

from harmviz.claims.mapping.page import overview

overview.show()
