"""What stands between the control plane and the processes that carry the traffic."""
