"""The frame of the dashboard: page config, navigation, run picker, theme; nothing else. `streamlit run app.py`"""

import streamlit as st

from harmviz.ui import frame, live, picker

frame.set_up()
page = st.navigation(
    {
        "Explore": [
            st.Page("pages/overview.py", title="Overview", icon=":material/insights:", default=True),
            st.Page("pages/harm_map.py", title="Harm map", icon=":material/grid_on:"),
            st.Page("pages/overlap.py", title="Overlap & transfer", icon=":material/join_inner:"),
            st.Page("pages/compare.py", title="Compare runs", icon=":material/compare:"),
        ],
        "Claims": [
            st.Page("pages/compression.py", title="Compression", icon=":material/compress:"),
            st.Page("pages/dissociation.py", title="Dissociation", icon=":material/call_split:"),
            st.Page("pages/jailbreaks.py", title="Jailbreaks", icon=":material/lock_open:"),
            st.Page("pages/emergent.py", title="Emergent misalignment", icon=":material/bubble_chart:"),
        ],
        "Live": [st.Page("pages/playground.py", title="Playground", icon=":material/play_circle:")],
        "Manage": [st.Page("pages/runs.py", title="Runs", icon=":material/stacks:")],
        "Understand": [st.Page("pages/learn.py", title="Learn", icon=":material/school:")],
    }
)
picker.choose()
live.panel()
frame.settings()
page.run()
