"""Learn: what does all this mean?"""

from harmviz.learn import page

page.show()
