"""The frame of the dashboard: page config, navigation, theme; nothing else. `streamlit run app.py`"""

import streamlit as st

from harmviz.ui import frame

frame.set_up()
page = st.navigation([st.Page("pages/runs.py", title="Runs on disk", icon=":material/stacks:", default=True)])
page.run()
