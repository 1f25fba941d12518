"""The terminal UI of Keystead. Talks to the control plane through ``controlplane.client`` only."""
