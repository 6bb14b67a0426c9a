"""Pages of the whole service: the control room, all runs, images, hosts, the queue, who did what, and who may."""
