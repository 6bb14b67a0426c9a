"""Image templates: the page of one, and the form of a new one."""
