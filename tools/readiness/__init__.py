"""Is the rollout ready? Every item of the checklist it began with, measured; and the first step itself."""
