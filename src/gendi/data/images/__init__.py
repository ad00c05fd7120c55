"""Pictures: reading, checking, showing, writing and evaluating them, and their codec."""
