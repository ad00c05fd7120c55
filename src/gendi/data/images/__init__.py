"""Pictures: reading them, their codec, showing, checking, writing and measuring them."""
