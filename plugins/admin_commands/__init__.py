"""Commands for the administrator of a hub. No part of the hub itself imports them."""
