"""The frame of the dashboard: page config, navigation, run picker, theme; nothing else. `streamlit run app.py`"""

import streamlit as st

from harmviz.presenter import page as presenter
from harmviz.ui import frame, links, live, menu, picker, theme

frame.set_up()
links.clean()
page = st.navigation(menu.pages())
picker.choose()
live.panel()
frame.settings()
if theme.presenting():
    presenter.run(page)
else:
    page.run()
