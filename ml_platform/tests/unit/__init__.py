"""No wire: names, states, decisions, constraints."""
