"""One public function a step: paths and settings in, files and a frozen result out; no nipype."""
