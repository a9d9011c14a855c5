"""Who may reach the dashboard, and who may do what in it.

- ``roles``: visitor or owner, and what each may do; read from the environment and the login;
- ``exposure``: which addresses the dashboard may listen on, and which it may answer to;
- ``guard``: refuses requests that name a foreign host, come from another site, or upload without the right to;
- ``sessions``: which browser sessions belong to an owner;
- ``logs``: faults are logged by kind and place, without a message that could hold a prompt.

No torch, no streamlit.
"""

from harmviz.access.roles import ACTIONS, OWNER, VISITOR, Policy, Role, may, role_of

__all__ = ["ACTIONS", "OWNER", "VISITOR", "Policy", "Role", "may", "role_of"]
