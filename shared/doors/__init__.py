"""The HTTP doors all services share: what is refused before anything runs, and how a no is said."""
