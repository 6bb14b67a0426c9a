"""The portal: pages that show what the API answers, and nothing else."""
