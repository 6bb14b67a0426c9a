"""What the service has as a whole: all runs, all images, hosts, and the queue, as far as the caller may read them."""
