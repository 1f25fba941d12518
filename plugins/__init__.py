"""Key store plugins of Keystead, and the SDK they are written with. Imports nothing."""
