"""Commands for whoever looks after a hub; nothing of it runs inside one."""
