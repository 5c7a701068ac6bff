"""What people look at: a function and a template a page, no state. Style and charts come from `core.paper`."""
