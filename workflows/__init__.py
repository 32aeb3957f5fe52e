"""nipype graphs over the steps, one builder a stage."""
