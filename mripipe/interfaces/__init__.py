"""Steps as nipype interfaces; with ``workflows`` the only place that imports nipype."""
