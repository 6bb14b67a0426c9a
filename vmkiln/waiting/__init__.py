"""How code waits without standing in the way: blocking calls beside the event loop, locks between processes."""
