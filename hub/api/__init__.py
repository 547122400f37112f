"""HTTP as plain values: routes, what a handler's signature says of its route, bodies, and how a request is executed."""
