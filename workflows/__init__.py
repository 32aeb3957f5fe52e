"""nipype graphs, one builder a stage; `subject.build_subject` composes them."""
