"""What runs around the lab: the runner, its pages and checks. The lab never imports it."""
