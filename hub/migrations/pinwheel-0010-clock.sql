-- Stamps from `began` to before `ended` (NULL: it lasts, or ended with the hub) were given while the wall clock was not
-- believed; `wall` is what it said at the beginning. All in milliseconds UTC. `state` is one of `hub.clock.State`.
CREATE TABLE clock_doubts (
    began INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    wall INTEGER NOT NULL,
    ended INTEGER
);
