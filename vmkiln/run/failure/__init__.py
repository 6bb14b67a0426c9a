"""Why a run failed, from what its log says."""
