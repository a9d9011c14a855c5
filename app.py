"""The dashboard: `streamlit run app.py`. What serves it, and the frame of every page; nothing else.

Streamlit imports this file once, for ``app``, and runs it as a script whenever a page is drawn.
"""

import streamlit as st

if __name__ == "__main__":
    from harmviz.presenter import page as presenter
    from harmviz.ui import frame, links, live, menu, picker, theme, visitor

    frame.set_up()
    links.clean()
    page = st.navigation(menu.pages())
    visitor.enter()
    picker.choose()
    live.panel()
    frame.settings()
    if theme.presenting():
        presenter.run(page)
    else:
        page.run()
else:
    from harmviz.ui import serving

    app = st.App(__file__, middleware=serving.prepare())
